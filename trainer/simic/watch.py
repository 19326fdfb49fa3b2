"""Runs the detectors over the updates of each batch and keeps the little memory that they need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from trainer.simic import detectors
from trainer.simic.detectors import Anomaly
from trainer.tamiyo.ppo import LearnReport, UpdateReport

SMOOTHING: Final = 0.8
"""Weight of the past in the running gradient norm: a memory of about five batches."""

WARM_UP: Final = 5
"""Batches before drift is judged."""


@dataclass
class UpdateWatch:
    """Remembers gradient norms and how long each head's entropy has been low."""

    smoothed_norm: float | None = None
    batches: int = 0
    streaks: dict[str, int] = field(default_factory=dict)

    def inspect(self, report: LearnReport) -> tuple[Anomaly, ...]:
        """Everything wrong with the updates of one batch; each kind at most once, by its worst update."""
        self.batches += 1
        found: list[Anomaly] = []
        if report.skipped is not None:
            skip = report.skipped
            found += detectors.nonfinite_anomalies({"loss": skip.loss, "pre_clip_grad_norm": skip.pre_clip_grad_norm})
        for update in report.updates:
            found += self._inspect_update(update)
        if report.updates:
            norm = max(update.values["pre_clip_grad_norm"] for update in report.updates)
            if self.batches > WARM_UP:
                found += detectors.drift_anomaly(norm, self.smoothed_norm)
            past = norm if self.smoothed_norm is None else self.smoothed_norm
            self.smoothed_norm = SMOOTHING * past + (1.0 - SMOOTHING) * norm
        worst: dict[str, Anomaly] = {}
        for anomaly in found:
            if anomaly.kind not in worst or abs(anomaly.value) > abs(worst[anomaly.kind].value):
                worst[anomaly.kind] = anomaly
        return tuple(worst.values())

    def _inspect_update(self, update: UpdateReport) -> list[Anomaly]:
        values = update.values
        entropies = {head: value for head, value in update.maps["head_entropy"].items() if value == value}
        for head, value in entropies.items():
            low = value < detectors.ENTROPY_LIMITS[head]
            self.streaks[head] = self.streaks.get(head, 0) + 1 if low else 0
        return [
            *detectors.ratio_anomalies(values["ratio_min"], values["ratio_max"]),
            *detectors.value_anomalies(values["value_loss"], values["bellman_error"]),
            *detectors.gradient_anomalies(values["pre_clip_grad_norm"], values["kl_divergence"]),
            *detectors.entropy_anomalies(entropies, self.streaks),
            *detectors.nonfinite_anomalies(values),
        ]
