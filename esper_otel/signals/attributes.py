"""The metric attributes and what bounds them.

A metric multiplies its series by the values of its attributes, so every attribute is declared here with either the
closed set of values it can have or the largest number of values that one process exports before it folds the rest
into ``other``. Run, episode, seed and event ids are not here on purpose: they belong to the resource, spans and logs.
"""

from typing import Final

import msgspec

from esper_otel.events import vocabulary

OVERFLOW: Final = "other"
"""Value that stands for everything beyond an attribute's bound."""


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One bounded attribute.

    Attributes:
        name: attribute and Prometheus label.
        description: what its values are.
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
        """Whether only ``values`` are allowed."""
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
        _open("blueprint", "Blueprint of a seed.", 64, vocabulary.BLUEPRINTS),
        _open("phase", "Phase of a round.", 32),
        _open("component", "Addend of a reward.", 64, vocabulary.REWARD_COMPONENTS),
        _closed("head", "Head of the policy.", vocabulary.GRADIENT_HEADS),
        _closed("op", "Life-cycle operation.", vocabulary.OPS),
        _closed("cell", "Part of a recurrent state.", vocabulary.CELLS),
        _closed("stage", "Stage of a seed.", vocabulary.STAGES),
        _closed("from_stage", "Stage that was left.", vocabulary.STAGES),
        _closed("to_stage", "Stage that was entered.", vocabulary.STAGES),
        _closed("gate", "Life-cycle gate.", vocabulary.GATES),
        _closed("passed", "Whether a gate let the seed through.", ("true", "false")),
        _closed("success", "Whether an operation was carried out.", ("true", "false")),
        _closed("initiator", "Who removed a seed.", vocabulary.PRUNE_INITIATORS),
        _closed("panic_reason", "Why the governor rolled back.", vocabulary.PANIC_REASONS),
        _closed("morphology_phase", "Step of the causal chain.", vocabulary.MORPHOLOGY_PHASES),
        _closed("pattern", "Rule that suspects reward hacking.", ("attribution_ratio", "ransomware_signature")),
        _closed("severity", "Severity of a violation.", ("warning", "critical")),
        _closed("kind", "Kind of a non-finite value.", ("nan", "inf")),
        _open("reason", "Why something was left out or skipped.", 32, vocabulary.SKIP_REASONS),
        _closed("outcome", "How a run ended.", vocabulary.RUN_OUTCOMES),
        _closed("esper.run.state", "State of a run.", ("running", "stalled", *vocabulary.RUN_OUTCOMES)),
        _closed("scaler_state", "What a gradient scaler does.", ("growing", "stable", "decaying")),
        _open("sensor", "Sensor of the training process.", 16),
        _open("hw.id", "UUID of a GPU or of a MIG instance.", 128),
        _open("hw.name", "Model of a GPU.", 16),
        _closed("hw.type", "Kind of hardware.", ("gpu",)),
        _closed("hw.state", "State of hardware.", ("ok", "degraded", "failed")),
        _closed("hw.gpu.task", "Part of a GPU that works.", ("general", "encoder", "decoder")),
        _open("hw.sensor_location", "Where a temperature is measured.", 8, ("gpu_core", "memory")),
        _open("hw.limit_type", "What a limit is for.", 8, ("high.critical", "high.degraded")),
        _closed("network.io.direction", "Direction of a transfer, seen from the GPU.", ("transmit", "receive")),
        _open("error.type", "Kind of a hardware error.", 16, ("corrected", "uncorrected", "pcie_replay")),
        _open("xid", "Code of an XID error; the common ones exist from the start.", 64, vocabulary.XIDS),
        _open("clock", "Clock of a GPU.", 8, ("graphics", "sm", "memory", "video")),
        _open("throttle_reason", "Why clocks are held back.", 16, vocabulary.THROTTLE_REASONS),
        _open("violation", "Limit that holds clocks back.", 16, vocabulary.VIOLATIONS),
        _closed("share", "Whose processes: this run's or those of others.", ("run", "others")),
        _open("gpu_unit", "Part of a GPU whose activity is measured.", 16),
        _open("call", "Function of the GPU driver.", 64),
        _open("event_type", "Event type in the log.", 128),
        _open("field", "Field of an event.", 512),
        _open(
            "signal",
            "What is sent: metrics, traces or logs, or rows for W&B.",
            8,
            ("metrics", "traces", "logs", "wandb"),
        ),
    )
}
"""Every attribute that a metric may carry, by name."""

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
