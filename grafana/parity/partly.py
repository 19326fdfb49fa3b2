"""Views of which a part is missing, judged by what the panels of the built dashboards contain."""

from __future__ import annotations

from typing import Final

PARTLY: Final[dict[str, str]] = {
    "RunHeader": "spread over nine panels of two boards; processor and memory are of the process, without per cent",
    "RunInfo modal": "the length of a run is on the board of runs alone; rounds an hour are no number",
    "AnomalyStrip": "spread over four boards",
    "EnvOverview": "no row has the last action, momentum, staleness or a small curve; no row of all environments",
    "env status": "an environment that no longer improves has no state of its own",
    "Scoreboard (best runs, worst trajectory)": "epoch of the peak, and end against peak of an episode, are no columns",
    "EsperStatus": "spread over six panels of four boards",
    "RewardHealthPanel": "no single verdict; the Pareto hypervolume is nowhere",
    "EnvDetailScreen header": "epochs without improvement are nowhere",
    "EnvDetail: seed cards": "blend tempo and alpha curve stand in log lines alone; the gradient is a norm, no ratio",
    "EnvDetail: metrics": "shares of actions are those of all environments",
    "SeedDetailModal": "blend tempo and alpha curve stand in log lines alone",
    "CounterfactualPanel": "expected accuracy and synergy are not computed; a table, no waterfall",
    "ShapleyPanel": "no sum over the slots; the number of samples stands in log lines alone",
    "HistoricalEnvDetail": "no view of an episode at its peak: its time has to be chosen by hand",
    "Tamiyo NarrativePanel": "no sentence on cause and next step but those of the alerts",
    "Tamiyo PPOLossesPanel": "the ratio of value to policy loss is no number",
    "Tamiyo HealthStatusPanel": "slope of the entropy and time to its collapse are no numbers",
    "Tamiyo CriticCalibrationPanel": "no verdict in one word; the Bellman error is a line among others",
    "Tamiyo ActionHeadsPanel": "no rows of confidence and entropy of each head in the latest decisions",
    "Tamiyo SlotsPanel": "the mean life of a seed stands in log lines alone; no arrows for trends",
    "Tamiyo EpisodeMetricsPanel": "no entropy of the actions, no trend of completion, no words on what a number means",
    "Tamiyo action distribution / ActionContext": "patterns of actions (stuck, thrashing) are not found",
    "Tamiyo DecisionsColumn + DecisionDetailScreen": (
        "host accuracy, TD error, hit or miss, style, tempo and states of the slots are no columns"
    ),
    "HealthGauges": "spread over six panels of two boards; the low variance of the returns is a line without a label",
    "LeaderboardTable": "the trajectory of an episode is no column",
    "PolicyDiagnostics": "the epoch of an early stop stands in log lines alone",
    "EnvDetail: seed graveyard": "rows after the sixth are below the edge; a count that stayed 0 has no column",
    "EnvironmentGrid": "removed seeds of an environment are in no panel; names of stages are cut",
    "SeedSwimlane": "no blueprint on the lanes; blend weights of many slots lie on each other",
    "HealthMonitor": "memory is that of the process, without a share; gradients have a p99, no maximum",
    "VitalSignsMonitor": "no loss against its recent mean, no length of a stagnation, no share of failures",
    "GradientHeatmap": "layers are counted; their figures stand in log lines alone",
    "SeedChip": "the alpha curve stands in log lines alone",
    "ExperimentVerdictPanel": "numbers without its five gates and without one state",
    "PhaseGatePanel": "no list of the gates with their limits",
    "CohortComparisonPanel": "no return on parameters, no collapse risk, and nothing names the leader",
    "MorphologyCausalLogPanel": "only the opened log line shows proposal, verdict, mutation and linked event",
    "BlueprintAnalytics": "mean improvement, blending and counterfactual of a blueprint are nowhere",
    "run_overview": "slope of the entropy, collapse risk and drift of the actions are in the MCP server alone",
}
"""Missing parts by the name of the row."""
