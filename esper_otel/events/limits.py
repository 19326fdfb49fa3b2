"""Limits of healthy values drawn by screens and reports, for fields without a counter of violations.

They are declared on their field, in the field's own unit: ``note(…, limits=above(0.5, 2.0, MEASURED))``.
"""

from typing import Final

from esper_otel.events.instruments import Threshold

CRITIC: Final = "Limits of esper-lite's critic panel."
MEASURED: Final = "Beyond what good runs reach: the limit marks under 2 % of their updates (docs/evidence/limits.md)."

DIAGNOSTICS: Final = "Limits of esper-lite's policy diagnostics."
HEALTH: Final = "Limits of esper-lite's health panel."
INPUTS: Final = "Limits of esper-lite's observation check."
SEEDS: Final = "Limits of esper-lite's seed cards."
STABILITY: Final = "Limits of esper-lite's stability panel."


def above(warning: float | None, critical: float | None, reason: str) -> Threshold:
    """Limits for values that are bad when large."""
    return Threshold(warning_above=warning, critical_above=critical, reason=reason)


def below(warning: float | None, critical: float | None, reason: str) -> Threshold:
    """Limits for values that are bad when small."""
    return Threshold(warning_below=warning, critical_below=critical, reason=reason)


def between(low: tuple[float, float], high: tuple[float, float], reason: str) -> Threshold:
    """Limits on both sides; ``low`` and ``high`` are (warning, critical)."""
    return Threshold(
        warning_below=low[0], critical_below=low[1], warning_above=high[0], critical_above=high[1], reason=reason
    )
