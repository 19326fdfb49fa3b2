"""Where Overwatch, esper-lite's web dashboard, and the other consumers of its telemetry went."""

from __future__ import annotations

from typing import Final

from grafana.parity_row import ParityRow

WEB: Final = "Overwatch, the web dashboard"
OTHERS: Final = "Other consumers"


def _web(
    name: str, *homes: str, shows: tuple[str, ...] = (), awaits: tuple[str, ...] = (), reason: str = ""
) -> ParityRow:
    return ParityRow(section=WEB, name=name, homes=homes, shows=shows, awaits=awaits, reason=reason)


def _other(
    name: str, *homes: str, shows: tuple[str, ...] = (), awaits: tuple[str, ...] = (), reason: str = ""
) -> ParityRow:
    return ParityRow(section=OTHERS, name=name, homes=homes, shows=shows, awaits=awaits, reason=reason)


OVERWATCH: Final = (
    _web("StatusBar", "run/state", "run/last_event", "run/position", shows=("esper.relay.last_record.timestamp",)),
    _web("AnomalySidebar", "run/anomalies", "run/rounds", "run/event_log", shows=("simic.numerical_instabilities",)),
    _web("EventTimeline", "run/event_log"),
    _web("EnvironmentGrid", "run/environments", shows=("tolaria.val_accuracy",), awaits=("tolaria", "kasmina")),
    _web(
        "HealthGauges",
        "tamiyo/entropy",
        "tamiyo/clipping",
        "tamiyo/critic_fit",
        shows=("tamiyo.entropy", "tamiyo.clip_fraction", "tamiyo.explained_variance", "tamiyo.ev_low_return_variance"),
        awaits=("gpu",),
    ),
    _web("LeaderboardTable", "run/environments", "run/leaderboard", shows=("EPISODE_OUTCOME",)),
    _web(
        "PolicyDiagnostics",
        "tamiyo/losses",
        "tamiyo/entropy",
        "tamiyo/ratio",
        "tamiyo/distribution",
        "tamiyo/heads",
        "tamiyo/gradient_health",
        "tamiyo/update_time",
        shows=("tamiyo.policy_loss", "tamiyo.policy_ratio_max", "tamiyo.advantage_std", "tamiyo.update.duration"),
        reason="The epoch of an early stop stands in the policy update's line of the event log.",
    ),
    _web(
        "GradientHeatmap",
        "tamiyo/gradient_health",
        "run/event_log",
        shows=("tamiyo.dead_layers", "tamiyo.exploding_layers"),
        reason="Layers are no label: their number is open. The figures of each layer stand in the event log.",
    ),
    _web("SeedSwimlane", "run/all_rounds", awaits=("kasmina",), reason="Also the spans of a seed in the trace."),
    _web("SeedChip", awaits=("kasmina",)),
    _web("ContributionWaterfall", awaits=("simic",)),
    _web(
        "ActionContextPanel",
        "tamiyo/q_values",
        "tamiyo/returns",
        "tamiyo/decisions",
        shows=("tamiyo.op_q_values", "tamiyo.return_p50", "TAMIYO_DECISION"),
    ),
    _web(
        "ExperimentVerdictPanel",
        "run/verdict",
        "run/anomalies",
        "tamiyo/actions",
        shows=(
            "tamiyo.value_nrmse",
            "tamiyo.q_variance",
            "tamiyo.decision_density",
            "tamiyo.return_p50",
            "tolaria.avg_reward",
        ),
        awaits=("kasmina",),
    ),
    _web("PhaseGatePanel", "run/environments", "run/verdict", awaits=("kasmina",)),
    _web(
        "CohortComparisonPanel",
        "run/environments",
        "run/accuracy",
        "run/reward",
        "run/configuration",
        shows=("tolaria.val_accuracy", "simic.episode_reward"),
        awaits=("simic",),
        reason="Every panel keeps the groups apart; choose them above.",
    ),
    _web("MorphologyCausalLogPanel", awaits=("kasmina",)),
    _web("KeyboardHelp", reason="Grafana has its own."),
)

CONSUMERS: Final = (
    _other("ConsoleOutput", "run/event_log", reason="The trainer prints its own progress."),
    _other("BlueprintAnalytics", awaits=("kasmina",), reason="Also in `esper-otel report`."),
    _other("DirectoryOutput / FileOutput", reason="The event log itself."),
    _other(
        "KarnCollector store + triggers",
        "run/rounds",
        "tamiyo/violations",
        reason="Nothing has to be captured: every round has its trace, and alerts point to it.",
    ),
    _other("HealthMonitor", "run/anomalies", shows=("simic.memory_warnings",), awaits=("gpu", "tolaria")),
    _other("VitalSignsMonitor", "run/trends", shows=("simic.plateaus", "simic.degradations"), awaits=("tolaria",)),
    _other("WandbBackend", reason="A backend of its own, which stays."),
    _other(
        "run_overview",
        "run/environments",
        "run/anomalies",
        "tamiyo/actions",
        "tamiyo/decisions",
        reason="The MCP server has it too.",
    ),
)
