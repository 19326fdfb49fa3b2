"""What dashboards ask often, computed once: ``<level>:<metric>:<operation>`` as Prometheus recommends."""

from typing import Any, Final

from deploy.prometheus.expressions import ARM, RUN, metric

_RUN: Final = ", ".join(RUN)
_ARM: Final = ", ".join(ARM)


def _rate(name: str, *, part: str = "", by: str = _ARM, over: str = "5m", **labels: str) -> str:
    return f"sum by ({by}) (rate({metric(name, part, **labels)}[{over}]))"


def _quantile(name: str, quantile: float) -> str:
    return f"histogram_quantile({quantile:g}, {_rate(name, part='bucket', by=f'{_ARM}, le')})"


def _mean(name: str, over: str) -> str:
    return f"{_rate(name, part='sum', over=over)}\n  / {_rate(name, part='count', over=over)}"


RECORDING: Final = {
    "run:esper_events:rate5m": _rate("esper.events", by=_RUN),
    "arm:tamiyo_updates:rate5m": _rate("tamiyo.updates"),
    "arm:tamiyo_pre_clip_grad_norm:p50_5m": _quantile("tamiyo.pre_clip_grad_norm", 0.5),
    "arm:tamiyo_pre_clip_grad_norm:p99_5m": _quantile("tamiyo.pre_clip_grad_norm", 0.99),
    "arm:tamiyo_update_duration_seconds:mean5m": _mean("tamiyo.update.duration", "5m"),
    "arm:tamiyo_decisions:rate5m": _rate("tamiyo.decisions", by=f"{_ARM}, op"),
    "arm:tolaria_epochs:rate5m": _rate("tolaria.epochs"),
    "arm:tolaria_batch_duration_seconds:mean30m": _mean("tolaria.batch.duration", "30m"),
    "arm:tolaria_val_accuracy:mean": f"avg by ({_ARM}) ({metric('tolaria.val_accuracy')})",
    "arm:tolaria_val_accuracy:max": f"max by ({_ARM}) ({metric('tolaria.val_accuracy')})",
    "arm:kasmina_germinations:increase1h": f"sum by ({_ARM}) (increase({metric('kasmina.germinations')}[1h]))",
    "arm:kasmina_fossilizations:increase1h": f"sum by ({_ARM}) (increase({metric('kasmina.fossilizations')}[1h]))",
    "arm:kasmina_prunes:increase1h": f"sum by ({_ARM}) (increase({metric('kasmina.prunes')}[1h]))",
    "arm:kasmina_seeds:count": f"count by ({_ARM}, stage) ({metric('kasmina.seed_state')} == 1)",
    "run:hw_power_watts:sum": f"sum by ({_RUN}) ({metric('hw.power')})",
    "run:hw_gpu_utilization:mean": f"avg by ({_RUN}) ({metric('hw.gpu.utilization', hw_gpu_task='general')})",
}
"""Expression by name. ``run`` is by job and instance, ``arm`` by the A/B group too."""


def groups() -> list[dict[str, Any]]:
    """The recording rules as groups of Prometheus."""
    return [
        {
            "name": "esper-recording",
            "rules": [{"record": name, "expr": expr} for name, expr in RECORDING.items()],
        }
    ]
