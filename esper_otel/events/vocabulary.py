"""The closed sets of names that events use: heads, operations, stages, blueprints.

They bound the metric attributes (see :mod:`esper_otel.signals.attributes`), turn esper-lite's columns into maps and
back, and order its positional lists. The names are esper-lite's.
"""

from typing import Final

HEADS: Final = ("op", "slot", "blueprint", "style", "tempo", "alpha_target", "alpha_speed", "alpha_curve")
"""The 8 action heads of the factored policy."""

GRADIENT_HEADS: Final = (*HEADS, "value", "q")
"""Heads that have gradients: the action heads, the critic V(s) and esper-lite's telemetry-only Q head."""

OPS: Final = ("WAIT", "GERMINATE", "SET_ALPHA_TARGET", "PRUNE", "FOSSILIZE", "ADVANCE")
"""Life-cycle operations, in the order of esper-lite's positional lists."""

STAGES: Final = (
    "DORMANT",
    "GERMINATED",
    "TRAINING",
    "BLENDING",
    "HOLDING",
    "FOSSILIZED",
    "PRUNED",
    "EMBARGOED",
    "RESETTING",
)

PARTIAL_KEYS: Final = frozenset({"phase"})
"""Keys of maps of which an event has only those that it is about: an epoch's phases, then the update's."""

TRANSITIONS: Final = (
    ("DORMANT", "GERMINATED"),
    ("GERMINATED", "TRAINING"),
    ("GERMINATED", "PRUNED"),
    ("TRAINING", "BLENDING"),
    ("TRAINING", "PRUNED"),
    ("BLENDING", "HOLDING"),
    ("BLENDING", "PRUNED"),
    ("HOLDING", "FOSSILIZED"),
    ("HOLDING", "BLENDING"),
    ("HOLDING", "PRUNED"),
    ("PRUNED", "EMBARGOED"),
    ("EMBARGOED", "RESETTING"),
    ("RESETTING", "DORMANT"),
)
"""The legal changes of stage, (from, to)."""

BLUEPRINTS: Final = (
    "noop",
    "conv_light",
    "attention",
    "norm",
    "depthwise",
    "bottleneck",
    "conv_small",
    "conv_heavy",
    "lora",
    "lora_large",
    "mlp_small",
    "mlp",
    "flex_attention",
)

GATES: Final = ("G0", "G1", "G2", "G3", "G5")
"""G0 germination, G1 training, G2 blending, G3 holding, G5 fossilisation; there is no G4."""

CELLS: Final = ("h", "c")
"""Hidden and cell state of a recurrent policy."""

PRUNE_INITIATORS: Final = ("policy", "governor", "auto")

RUN_OUTCOMES: Final = ("finished", "failed", "interrupted", "died")

SKIP_REASONS: Final = ("nonfinite_loss", "nonfinite_gradient", "amp_overflow", "empty_batch", "unspecified")

PANIC_REASONS: Final = ("governor_nan", "governor_lobotomy", "governor_divergence", "governor_rollback")

PHASES: Final = ("train", "val", "rollout", "action", "ppo_update", "counterfactual")

MORPHOLOGY_PHASES: Final = (
    "proposal",
    "verdict",
    "mutation",
    "dispatch",
    "commit",
    "rollback",
    "fossilization",
    "cooldown",
    "audit",
)

REWARD_COMPONENTS: Final = (
    "bounded_attribution",
    "ratio_penalty",
    "escrow_delta",
    "escrow_forfeit",
    "compute_rent",
    "alpha_shock",
    "blending_warning",
    "holding_warning",
    "stage_bonus",
    "pbrs_bonus",
    "synergy_bonus",
    "action_shaping",
    "terminal_bonus",
    "fossilize_terminal_bonus",
    "hindsight_credit",
    "occupancy_rent",
    "fossilized_rent",
)
"""The addends of a reward. esper-lite stores the two rents positive and subtracts them; here every addend is signed."""

KEY_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "head": GRADIENT_HEADS,
    "op": OPS,
    "cell": CELLS,
}
"""Keys that a ``{key}`` alias can have, by the attribute whose values they are."""

XIDS: Final = (
    *("13", "31", "32", "43", "45", "48", "61", "62", "63"),
    *("64", "74", "79", "92", "94", "95", "109", "119", "120"),
)
"""XID codes that a fleet meets (NVIDIA's catalogue); they are counted from 0, so that the first one is an increase."""

THROTTLE_REASONS: Final = (
    "idle",
    "application_clocks",
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal",
    "hw_thermal",
    "hw_power_brake",
    "display_clocks",
)
"""Bits of the driver's clock event reasons, lowest first."""

VIOLATIONS: Final = ("power", "thermal", "sync_boost", "board_limit", "low_utilization", "reliability")
"""Performance policies of the driver, by number."""

PASS_EPOCH: Final = "epoch"
PASS_EVALUATION: Final = "evaluation"
"""Kinds of a pass over a data loader."""
