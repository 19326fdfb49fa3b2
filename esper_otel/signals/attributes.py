"""The metric attributes and their bounds.

A metric multiplies its series by the values of its attributes, so every attribute is declared here with either the
closed set of values it can have or the largest number of values that one process exports before it folds the rest
into ``other``. Run, episode, seed and event ids are deliberately absent: they belong to the resource, spans and logs.
"""

from typing import Final

import msgspec

from esper_otel.events import vocabulary

OVERFLOW: Final = "other"
"""Value that replaces everything beyond an attribute's bound."""


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One bounded attribute.

    Attributes:
        name: attribute and Prometheus label.
        description: meaning of its values.
        values: the closed set of values, in order; empty when it is open.
        limit: the largest number of values of an open attribute.
        allow_new: a closed set that may still meet new names (blueprints of a newer producer), up to ``limit``.
    """

    name: str
    description: str
    values: tuple[str, ...] = ()
    limit: int = 64
    allow_new: bool = False

    @property
    def is_closed(self) -> bool:
        """True if only ``values`` are allowed."""
        return bool(self.values) and not self.allow_new


def _closed(name: str, description: str, values: tuple[str, ...]) -> Attribute:
    return Attribute(name=name, description=description, values=values, limit=len(values))


def _open(name: str, description: str, limit: int, values: tuple[str, ...] = ()) -> Attribute:
    return Attribute(name=name, description=description, values=values, limit=limit, allow_new=True)


ATTRIBUTES: Final[dict[str, Attribute]] = {
    attribute.name: attribute
    for attribute in (
        _open("group_id", "A/B group; 'default' outside A/B runs.", 16),
        _open("rank", "Rank of the training process.", 16_384),
        _open("env_id", "Environment, counted from 0.", 1_024),
        _open("slot", "Slot of the host, named by row and column.", 64),
        _open("device", "Device as torch names it.", 64),
        _open("model", "Model that is trained, by the name of its class.", 16),
        _open("tag", "Name that a program gave a number that it logged.", 100),
        _open("optimizer", "Optimiser, by the name of its class.", 8),
        _open("blueprint", "Blueprint of a seed.", 64, vocabulary.BLUEPRINTS),
        _open("task", "Task of the hosts.", 16),
        _open("reward_mode", "Reward variant in force at the start.", 16),
        _open("seed", "Random seed of the run.", 16),
        _open("n_envs", "Environments trained side by side.", 16),
        _open("lr", "Learning rate of the policy optimiser.", 16),
        _open("clip_ratio", "PPO's clip range.", 16),
        _open("entropy_coef", "Entropy bonus at the start.", 16),
        _open("gamma", "Discount.", 16),
        _open("phase", "Phase of a round.", 32),
        _open("component", "Addend of a reward.", 64, vocabulary.REWARD_COMPONENTS),
        _closed("head", "Head of the policy.", vocabulary.GRADIENT_HEADS),
        _closed("op", "Life-cycle operation.", vocabulary.OPS),
        _closed("cell", "Part of a recurrent state.", vocabulary.CELLS),
        _closed("stage", "Stage of a seed.", vocabulary.STAGES),
        _closed("from_stage", "Stage that was left.", vocabulary.STAGES),
        _closed("to_stage", "Stage that was entered.", vocabulary.STAGES),
        _closed("gate", "Life-cycle gate.", vocabulary.GATES),
        _closed("passed", "True if a gate let the seed through.", ("true", "false")),
        _closed("success", "True if an operation was carried out.", ("true", "false")),
        _closed("initiator", "Actor that removed a seed.", vocabulary.PRUNE_INITIATORS),
        _closed("panic_reason", "Reason for the rollback by the governor.", vocabulary.PANIC_REASONS),
        _closed("morphology_phase", "Step of the causal chain.", vocabulary.MORPHOLOGY_PHASES),
        _closed("pattern", "Rule that suspects reward hacking.", ("attribution_ratio", "ransomware_signature")),
        _closed("severity", "Severity of a violation.", ("warning", "critical")),
        _closed("kind", "Kind of a non-finite value.", ("nan", "inf")),
        _open("reason", "Reason why something was left out or skipped.", 32, vocabulary.SKIP_REASONS),
        _closed("outcome", "Outcome of a run.", vocabulary.RUN_OUTCOMES),
        _closed("esper.run.state", "State of a run.", ("running", "stalled", *vocabulary.RUN_OUTCOMES)),
        _closed("scaler_state", "Trend of a gradient scaler.", ("growing", "stable", "decaying")),
        _open("sensor", "Sensor of the training process.", 16),
        _open("hw.id", "UUID of a GPU or of a MIG instance.", 128),
        _open("hw.name", "Model of a GPU.", 16),
        _closed("hw.type", "Kind of hardware.", ("gpu",)),
        _closed("hw.state", "State of hardware.", ("ok", "degraded", "failed")),
        _closed("hw.gpu.task", "Engine of a GPU.", ("general", "encoder", "decoder")),
        _open("hw.sensor_location", "Location of a temperature sensor.", 8, ("gpu_core", "memory")),
        _open("hw.limit_type", "Kind of a limit.", 8, ("high.critical", "high.degraded")),
        _closed("network.io.direction", "Direction of a transfer, seen from the GPU.", ("transmit", "receive")),
        _open("error.type", "Kind of a hardware error.", 16, ("corrected", "uncorrected", "pcie_replay")),
        _open("xid", "Code of an XID error; the common ones exist from the start.", 64, vocabulary.XIDS),
        _open("clock", "Clock of a GPU.", 8, ("graphics", "sm", "memory", "video")),
        _open("throttle_reason", "Reason why clocks are throttled.", 16, vocabulary.THROTTLE_REASONS),
        _open("violation", "Limit that throttles clocks.", 16, vocabulary.VIOLATIONS),
        _closed("share", "Owner of the processes: this run or others.", ("run", "others")),
        _open("gpu_unit", "Part of a GPU whose activity is measured.", 16),
        _open("call", "Function of the GPU driver.", 64),
        _open("event_type", "Event type in the log.", 128),
        _open("field", "Field of an event.", 512),
        _open(
            "signal",
            "Exported signal: metrics, traces or logs, rows for W&B, alerts, or lines for the archive.",
            8,
            ("metrics", "traces", "logs", "wandb", "alerts", "archive"),
        ),
    )
}
"""Every attribute that a metric may carry, by name."""

MAX_CUSTOM_VALUES: Final = 32
"""Number of values of an attribute that a user's own event declares."""


def bound_of(name: str) -> Attribute:
    """The declaration of an attribute, or the bound of one that a user's own event declares."""
    known = ATTRIBUTES.get(name)
    return known if known is not None else _open(name, "Attribute of a user's own event.", MAX_CUSTOM_VALUES)


BASE_ATTRIBUTES: Final = ("group_id", "rank")
"""Attributes that every metric of an event has; they come from the envelope."""

_ATTRIBUTE_OF_FIELD: Final = {
    "slot_id": "slot",
    "blueprint_id": "blueprint",
    "action_name": "op",
    "action_success": "success",
}


def attribute_of(field: str, event_type: str) -> str:
    """Name of the attribute that the event field ``field`` becomes."""
    if field == "phase" and event_type == "MORPHOLOGY_CAUSAL_LOG":
        return "morphology_phase"
    return _ATTRIBUTE_OF_FIELD.get(field, field)


def attribute_value(value: object) -> str:
    """Text of an attribute's value: booleans as ``true`` and ``false``, everything else as it prints."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
