"""The recording rules: expensive queries, named ``<level>:<metric>:<operation>`` as Prometheus recommends."""

from typing import Final

from esper_otel.alerts.promql import ARM, RUN, aggregated, metric, quantile_of, windowed


def _rate(name: str, *, part: str = "", by: tuple[str, ...] = ARM, over: str = "5m") -> str:
    return aggregated("sum", windowed("rate", metric(name, part), over), by)


def _increase(name: str) -> str:
    return aggregated("sum", windowed("increase", metric(name), "1h"), ARM)


def _quantile(name: str, quantile: float) -> str:
    return quantile_of(quantile, _rate(name, part="bucket", by=(*ARM, "le")))


def _mean(name: str, over: str) -> str:
    return f"{_rate(name, part='sum', over=over)}\n  / {_rate(name, part='count', over=over)}"


RECORDING: Final = {
    "run:esper_events:rate5m": _rate("esper.events", by=RUN),
    "arm:tamiyo_updates:rate5m": _rate("tamiyo.updates"),
    "arm:tamiyo_pre_clip_grad_norm:p50_5m": _quantile("tamiyo.pre_clip_grad_norm", 0.5),
    "arm:tamiyo_pre_clip_grad_norm:p99_5m": _quantile("tamiyo.pre_clip_grad_norm", 0.99),
    "arm:tamiyo_update_duration_seconds:mean5m": _mean("tamiyo.update.duration", "5m"),
    "arm:tamiyo_decisions:rate5m": _rate("tamiyo.decisions", by=(*ARM, "op")),
    "arm:tolaria_epochs:rate5m": _rate("tolaria.epochs"),
    "arm:tolaria_batch_duration_seconds:mean30m": _mean("tolaria.batch.duration", "30m"),
    "arm:tolaria_val_accuracy:mean": aggregated("avg", metric("tolaria.val_accuracy"), ARM),
    "arm:tolaria_val_accuracy:max": aggregated("max", metric("tolaria.val_accuracy"), ARM),
    "arm:kasmina_germinations:increase1h": _increase("kasmina.germinations"),
    "arm:kasmina_fossilizations:increase1h": _increase("kasmina.fossilizations"),
    "arm:kasmina_prunes:increase1h": _increase("kasmina.prunes"),
    "arm:kasmina_seeds:count": aggregated("count", f"{metric('kasmina.seed_state')} == 1", (*ARM, "stage")),
    "run:hw_power_watts:sum": aggregated("sum", metric("hw.power"), RUN),
    "run:hw_gpu_utilization:mean": aggregated("avg", metric("hw.gpu.utilization", hw_gpu_task="general"), RUN),
}
"""Expression by name. ``run`` is by job and instance, ``arm`` by the A/B group too."""
