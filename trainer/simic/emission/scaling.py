"""Activity of the hosts' loss scalers in a round, for the policy updates that follow it (plan, Appendix D.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esper_otel.events import AmpState


@dataclass
class ScalerTally:
    """Sums up readings of all hosts' scalers. Without mixed precision there are none, and no field either."""

    loss_scale: float | None = None
    changes: int = 0
    overflows: int = 0
    states: frozenset[str] = frozenset()

    def add(self, reading: AmpState | None) -> None:
        """Count one reading."""
        if reading is None:
            return
        self.loss_scale = reading.loss_scale
        self.changes += reading.scale_changes or 0
        self.overflows += reading.overflows or 0
        self.states |= {reading.scaler_state or "stable"}

    def fields(self, *, is_first: bool) -> dict[str, Any]:
        """Fields of a policy update. The counts belong to the round: its first update carries them."""
        if self.loss_scale is None:
            return {}
        state = next(name for name in ("decaying", "growing", "stable") if name in self.states)
        fields: dict[str, Any] = {
            "loss_scale": self.loss_scale,
            "grad_scaler_state": state,
            "amp_overflow_detected": self.overflows > 0,
        }
        if is_first:
            fields |= {"loss_scale_updates": self.changes, "amp_overflow_count": self.overflows}
        return fields
