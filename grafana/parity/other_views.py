"""Replacements for Overwatch, esper-lite's web dashboard, and the other consumers of its telemetry."""

from __future__ import annotations

from typing import Final

from grafana.parity.row import ParityRow

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
    _web(
        "EnvironmentGrid",
        "run/environments",
        "tolaria/environments",
        "tolaria/status",
        "kasmina/stages",
        shows=(
            "tolaria.inner_epoch",
            "kasmina.seed_state",
            "tolaria.val_accuracy",
        ),
    ),
    _web(
        "HealthGauges",
        "tamiyo/entropy",
        "tamiyo/clipping",
        "tamiyo/critic_fit",
        "gpu/utilization",
        "gpu/temperature",
        "gpu/memory_health",
        shows=(
            "hw.gpu.utilization",
            "hw.temperature",
            "hw.gpu.memory.utilization",
            "tamiyo.entropy",
            "tamiyo.clip_fraction",
            "tamiyo.explained_variance",
            "tamiyo.ev_low_return_variance",
        ),
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
        reason="The epoch of an early stop is in the policy update's line of the event log.",
    ),
    _web(
        "GradientHeatmap",
        "tamiyo/gradient_health",
        "run/event_log",
        shows=("tamiyo.dead_layers", "tamiyo.exploding_layers"),
        reason="Layers are no label: their number is open. The event log has the figures of each layer.",
    ),
    _web(
        "SeedSwimlane",
        "run/all_rounds",
        "kasmina/stages",
        "kasmina/seed_traces",
        "kasmina/alpha",
        reason="Also the spans of a seed in the trace.",
        shows=(
            "kasmina.seed_state",
            "kasmina.seed_alpha",
        ),
    ),
    _web(
        "SeedChip",
        "kasmina/seeds",
        "kasmina/stages",
        shows=(
            "kasmina.seed_state",
            "kasmina.seed_blueprint",
            "kasmina.seed_alpha",
        ),
    ),
    _web(
        "ContributionWaterfall",
        "simic/waterfall",
        "simic/sums",
        shows=(
            "simic.reward_component",
            "simic.step_reward",
            "SIMIC_REWARD_SUMMARY",
        ),
    ),
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
        "tamiyo/q_values",
        "kasmina/yield",
        "kasmina/slot_use",
        shows=(
            "kasmina.fossilizations",
            "kasmina.seed_state",
            "tamiyo.value_nrmse",
            "tamiyo.q_variance",
            "tamiyo.decision_density",
            "tamiyo.return_p50",
            "tolaria.avg_reward",
        ),
    ),
    _web(
        "PhaseGatePanel",
        "run/environments",
        "run/verdict",
        "kasmina/yield",
        "kasmina/blueprints",
        "kasmina/lifecycle",
        shows=(
            "kasmina.germinations",
            "kasmina.prunes",
        ),
    ),
    _web(
        "CohortComparisonPanel",
        "run/environments",
        "run/accuracy",
        "run/reward",
        "run/configuration",
        "simic/groups",
        "simic/group_reward",
        "simic/group_accuracy",
        "simic/modes",
        shows=(
            "simic.final_accuracy",
            "simic.param_growth",
            "kasmina.fossilizations",
            "tamiyo.entropy",
            "TRAINING_STARTED",
            "tolaria.val_accuracy",
            "simic.episode_reward",
        ),
        reason="Every panel keeps the groups apart; choose them above.",
    ),
    _web(
        "MorphologyCausalLogPanel",
        "kasmina/causal_log",
        "kasmina/causes",
        shows=(
            "MORPHOLOGY_CAUSAL_LOG",
            "kasmina.morphology_records",
        ),
    ),
    _web("KeyboardHelp", reason="Grafana has its own."),
)

CONSUMERS: Final = (
    _other("ConsoleOutput", "run/event_log", reason="The trainer prints its own progress."),
    _other(
        "BlueprintAnalytics",
        "kasmina/blueprints",
        "kasmina/lives",
        "simic/outcomes",
        reason="Counts by blueprint are in the MCP server's overview too.",
        shows=(
            "kasmina.germinations",
            "kasmina.fossilizations",
            "kasmina.prunes",
            "SEED_FOSSILIZED",
            "SEED_PRUNED",
            "simic.final_accuracy",
        ),
    ),
    _other("DirectoryOutput / FileOutput", reason="The event log itself."),
    _other(
        "KarnCollector store + triggers",
        "run/rounds",
        "tamiyo/violations",
        reason="No capture is needed: every round has its trace, and alerts point to it.",
    ),
    _other(
        "HealthMonitor",
        "run/anomalies",
        "gpu/gpu_memory",
        "gpu/process",
        "tolaria/grad_norm",
        "tolaria/throughput",
        shows=(
            "hw.gpu.memory.usage",
            "tolaria.process.memory_usage",
            "tolaria.host_grad_norm",
            "simic.memory_warnings",
        ),
    ),
    _other(
        "VitalSignsMonitor",
        "run/trends",
        "tolaria/loss",
        "tolaria/trends",
        "tolaria/broken",
        shows=("tolaria.val_loss", "simic.improvements", "tolaria.rollbacks", "simic.plateaus", "simic.degradations"),
    ),
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
