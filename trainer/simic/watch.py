"""The detectors over the updates of each batch, with their memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trainer.gradient_flow import GradientFlow
from trainer.simic import detectors
from trainer.simic.detectors import Anomaly
from trainer.tamiyo.reports import LearnReport, SkipReport, UpdateReport

SMOOTHING: Final = 0.8
"""Weight of the past in the running gradient norm: a memory of about five batches."""

WARM_UP: Final = 5
"""Batches before drift is judged."""

WORST_LAYERS: Final = 5
RATIO_FIELDS: Final = ("ratio_min", "ratio_mean", "ratio_max", "ratio_std", "clip_fraction", "approx_kl_max")
STABILITY_FIELDS: Final = ("numerical_stability_score", "log_prob_min", "log_prob_underflow_count")


@dataclass
class UpdateWatch:
    """Remembers gradient norms and health, and how long each head's entropy has been low."""

    smoothed_norm: float | None = None
    smoothed_health: float | None = None
    batches: int = 0
    streaks: dict[str, int] = field(default_factory=dict)

    def inspect(self, report: LearnReport) -> tuple[Anomaly, ...]:
        """All anomalies in the updates of one batch; each kind at most once, by its worst update."""
        self.batches += 1
        found: list[Anomaly] = []
        if report.skipped is not None:
            found += _skip_anomalies(report.skipped)
        for update in report.updates:
            found += self._inspect_update(update)
        if report.updates:
            found += self._inspect_drift(report.updates)
        worst: dict[str, Anomaly] = {}
        for anomaly in found:
            if anomaly.kind not in worst or abs(anomaly.value) > abs(worst[anomaly.kind].value):
                worst[anomaly.kind] = anomaly
        return tuple(worst.values())

    def _inspect_drift(self, updates: tuple[UpdateReport, ...]) -> list[Anomaly]:
        found: list[Anomaly] = []
        norm = max(update.values["pre_clip_grad_norm"] for update in updates)
        if self.batches > WARM_UP:
            found += detectors.drift_anomaly(norm, self.smoothed_norm)
        self.smoothed_norm = _smooth(self.smoothed_norm, norm)
        flows = [update.flow for update in updates if update.flow is not None]
        if flows:
            health = min(math.fsum(flow.health.values()) / len(flow.health) for flow in flows)
            found += detectors.health_drift_anomaly(health, self.smoothed_health)
            self.smoothed_health = _smooth(self.smoothed_health, health)
        return found

    def _inspect_update(self, update: UpdateReport) -> list[Anomaly]:
        values, flow = update.values, update.flow
        found = detectors.gradient_anomalies(values["pre_clip_grad_norm"], values["kl_divergence"])
        if flow is not None:
            found += detectors.layer_anomalies(flow.dead_layers, flow.exploding_layers, len(flow.health))
            found = [replace(anomaly, evidence={"gradient_stats": _layers(flow)}) for anomaly in found]
        if "ratio_max" in values:
            found += self._inspect_details(update)
        return found

    def _inspect_details(self, update: UpdateReport) -> list[Anomaly]:
        values = update.values
        entropies = {head: value for head, value in update.maps["head_entropy"].items() if value == value}
        for head, value in entropies.items():
            low = value < detectors.ENTROPY_LIMITS[head]
            self.streaks[head] = self.streaks.get(head, 0) + 1 if low else 0
        ratios = {name: values[name] for name in RATIO_FIELDS} | {"head_ratio_max": update.maps["head_ratio_max"]}
        stability = {name: values[name] for name in STABILITY_FIELDS}
        return [
            *_with(detectors.ratio_anomalies(values["ratio_min"], values["ratio_max"]), "ratio_diagnostic", ratios),
            *detectors.value_anomalies(values["value_loss"], values["bellman_error"]),
            *detectors.entropy_anomalies(entropies, self.streaks),
            *_with(detectors.nonfinite_anomalies(values), "stability", stability),
        ]


def _skip_anomalies(skip: SkipReport) -> list[Anomaly]:
    numbers = {"loss": skip.loss, "pre_clip_grad_norm": skip.pre_clip_grad_norm}
    evidence = {"reason": skip.reason, "nonfinite_parameters": list(skip.nonfinite_parameters), **numbers}
    return _with(detectors.nonfinite_anomalies(numbers), "stability", evidence)


def _with(anomalies: list[Anomaly], name: str, evidence: dict[str, Any]) -> list[Anomaly]:
    return [replace(anomaly, evidence={name: evidence}) for anomaly in anomalies]


def _layers(flow: GradientFlow) -> tuple[dict[str, Any], ...]:
    """The layers with the largest norms."""
    largest = sorted(flow.norm_per_layer.items(), key=lambda item: item[1], reverse=True)[:WORST_LAYERS]
    return tuple({"layer": layer, "norm": norm, "health": flow.health[layer]} for layer, norm in largest)


def _smooth(past: float | None, now: float) -> float:
    return now if past is None else SMOOTHING * past + (1.0 - SMOOTHING) * now
