"""The limits of healthy values, as the registry of signals declares them."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events import PolicyUpdate, TrainingUpdate
from esper_otel.events.declare import Event, Severity, Threshold
from esper_otel.signals.registry import SIGNALS

UPDATES: Final = (PolicyUpdate, TrainingUpdate)
"""Updates of a policy, and of any other model."""

_LIMITED: Final = {
    s.field: (s.event, s.threshold)
    for s in SIGNALS
    if s.event in UPDATES and s.threshold is not None and len(s.path) == 1
}
"""Numbers, no maps by head: the diagnosis judges those, which knows how many steps gave a head a choice."""

THRESHOLDS: Final[dict[str, Threshold]] = {field: threshold for field, (_, threshold) in _LIMITED.items()}
"""Threshold by field of an update, in the contract's order; no two events share a field that has one."""


class Limit(msgspec.Struct, frozen=True):
    """One side of a threshold: a value beyond ``value`` violates it."""

    severity: Severity
    is_above: bool
    value: float

    @property
    def text(self) -> str:
        """For instance ``above 10``."""
        return f"{'above' if self.is_above else 'below'} {self.value:g}"


def event_with(field: str) -> type[Event]:
    """The kind of update that a field with a threshold belongs to."""
    return _LIMITED[field][0]


def limits_of(field: str) -> list[Limit]:
    """The limits of a field, the critical ones first; none if the registry has no threshold for it."""
    threshold = THRESHOLDS.get(field)
    if threshold is None:
        return []
    given = (
        (Severity.CRITICAL, True, threshold.critical_above),
        (Severity.CRITICAL, False, threshold.critical_below),
        (Severity.WARNING, True, threshold.warning_above),
        (Severity.WARNING, False, threshold.warning_below),
    )
    return [Limit(severity, is_above, value) for severity, is_above, value in given if value is not None]
