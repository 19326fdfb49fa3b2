"""The limits of healthy values, as the registry of signals declares them."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events import PolicyUpdate
from esper_otel.events.declare import Severity, Threshold
from esper_otel.signals.registry import SIGNALS

THRESHOLDS: Final[dict[str, Threshold]] = {
    signal.field: signal.threshold
    for signal in SIGNALS
    if signal.event is PolicyUpdate and signal.threshold is not None
}
"""Threshold by field of a policy update, in the contract's order."""


class Limit(msgspec.Struct, frozen=True):
    """One side of a threshold: a value beyond ``value`` violates it."""

    severity: Severity
    is_above: bool
    value: float

    @property
    def text(self) -> str:
        """For instance ``above 10``."""
        return f"{'above' if self.is_above else 'below'} {self.value:g}"


def limits_of(field: str) -> list[Limit]:
    """The limits of a field, the critical ones first; none when the registry has no threshold for it."""
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
