"""PromQL from the registry: an expression can only name a metric that exists, with labels that it has.

Alerts, recording rules and dashboards are built from it. Every function returns text. Times are chosen for scrapes
every 15 s and a Prometheus that may be away for 8 minutes.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from esper_otel.events.declare import Threshold
from esper_otel.signals import SIGNALS, Signal
from esper_otel.signals.names import prometheus_label
from esper_otel.signals.own import OWN_SIGNALS, OwnSignal

RUN: Final = ("job", "instance")
"""Labels that name a run; they come from the scrape configuration and not from the registry."""

GROUP: Final = "group_id"
"""Label of an arm of an A/B run."""

ARM: Final = (*RUN, GROUP)
"""A run, or one arm of an A/B run."""

GPU: Final = (*RUN, "hw_id", "device")

WINDOW: Final = "15m"
"""Window in which a single event is found: longer than the scrape gap to survive, plus some evaluations."""

_ALL: Final[tuple[Signal | OwnSignal, ...]] = (*SIGNALS, *OWN_SIGNALS)
BY_NAME: Final = {signal.name: signal for signal in reversed(_ALL)}
"""Every signal by its OpenTelemetry name; of one that several events feed, the first."""

_HISTOGRAMS: Final = frozenset(signal.name for signal in SIGNALS if signal.bounds)
_THRESHOLDS: Final = {s.name: found for s in reversed(SIGNALS) if (found := s.threshold or s.limits) is not None}


def labels_of(name: str) -> frozenset[str]:
    """Prometheus labels that the attributes of a signal become, beside those of the run.

    Raises:
        KeyError: the registry has no such signal.
    """
    if name not in BY_NAME:
        raise KeyError(f"the registry has no metric {name!r}")
    return frozenset(map(prometheus_label, BY_NAME[name].attributes))


def metric(name: str, part: str = "", **labels: str) -> str:
    """A selector of the metric with the OpenTelemetry name ``name``.

    Args:
        name: ``tamiyo.updates``.
        part: of a histogram: bucket, sum or count.
        labels: value that each label must have; ``~`` before it makes it an expression, ``!`` and ``!~`` exclude it.

    Raises:
        KeyError: there is no such metric, or it has no such label.
    """
    if name not in BY_NAME or bool(part) != (name in _HISTOGRAMS):
        raise KeyError(f"the registry has no metric {name!r}{f' with a {part!r}' if part else ''}")
    if unknown := set(labels) - set(RUN) - labels_of(name) - ({"le"} if part == "bucket" else set()):
        raise KeyError(f"metric {name!r} has no label {', '.join(sorted(unknown))}")
    selected = ",".join(_matcher(label, value) for label, value in labels.items())
    return f"{BY_NAME[name].prometheus_name}{f'_{part}' if part else ''}{f'{{{selected}}}' if selected else ''}"


def _matcher(label: str, value: str) -> str:
    for sign, operator in (("!~", "!~"), ("!", "!="), ("~", "=~")):
        if value.startswith(sign):
            return f'{label}{operator}"{value.removeprefix(sign)}"'
    return f'{label}="{value}"'


def aggregated(aggregate: str, expression: str, labels: Iterable[str]) -> str:
    """``expression`` aggregated over every label but ``labels``: ``sum by (job) (…)``."""
    return f"{aggregate} by ({', '.join(labels)}) ({expression})"


def windowed(function: str, selector: str, window: str) -> str:
    """A function over a window of a selector: ``rate(…[5m])``, ``max_over_time(…[1h])``."""
    return f"{function}({selector}[{window}])"


def quantile_of(fraction: float, buckets: str) -> str:
    """A quantile of a histogram from the rates of its buckets, which keep the label ``le``."""
    return f"histogram_quantile({fraction:g}, {buckets})"


def threshold(name: str) -> Threshold:
    """The limits of a metric: those that it counts violations by, else those of its field.

    Raises:
        KeyError: the metric has none.
    """
    if name not in _THRESHOLDS:
        raise KeyError(f"the field of metric {name!r} has no limits; give it violations(threshold=…) or limits=…")
    return _THRESHOLDS[name]


def limit(name: str, side: str) -> str:
    """One limit of a metric as text; ``side`` is ``critical_above`` or the like.

    Raises:
        KeyError: the metric has no such limit.
    """
    value: float | None = getattr(threshold(name), side)
    if value is None:
        raise KeyError(f"the field of metric {name!r} has no limit {side}")
    return f"{value:g}"


def counted(selector: str, by: tuple[str, ...] = ARM, *, over: str = WINDOW) -> str:
    """Increase of a counter in the time ``over``: one count is enough, even if it created the series.

    ``increase`` alone misses a series whose first sample is already 1, and the second arm alone misses every later
    count; each arm needs a ``> 0`` of its own, or the 0 of the first one would hide the second.
    """
    return (
        f"sum by ({', '.join(by)}) (\n"
        f"    (increase({selector}[{over}]) > 0)\n"
        f"  or\n"
        f"    (({selector} unless {selector} offset {over}) > 0)\n"
        f")"
    )


class Share(msgspec.Struct, frozen=True):
    """Limit of a share: above ``above``, 0 to 1, of at least ``least`` counts."""

    above: float
    least: int

    def is_passed(self, number: int, total: int) -> bool:
        """Return True if ``number`` of ``total`` is too many already: what is missing to ``least`` counts as good."""
        return number > self.above * max(total, self.least)


def share(part: str, whole: str, limit: Share, *, over: str = "30m", by: tuple[str, ...] = ARM) -> str:
    """Counter ``part`` over counter ``whole`` beyond ``limit``."""
    counts, of = (aggregated("sum", windowed("increase", counter, over), by) for counter in (part, whole))
    enough = f"\n  and {of} >= {limit.least}" if limit.least > 1 else ""
    return f"{counts}\n  / clamp_min({of}, 1) > {limit.above:g}{enough}"


def unless_returns_are_alike(expression: str, over: str) -> str:
    """``expression``, but not where the returns of every update in the time ``over`` hardly varied.

    Nobody can explain their variance then, and a critic that does not is none that fails.
    """
    alike = windowed("min_over_time", metric("tamiyo.ev_low_return_variance"), over)
    return f"{expression}\nunless on ({', '.join(ARM)}) ({aggregated('min', alike, ARM)} == 1)"


def while_running(expression: str) -> str:
    """``expression``, but only while the run continues, stalled or not."""
    status = metric("esper.run.status", esper_run_state="~running|stalled")
    return f"{expression}\nand on (job, instance) (max by (job, instance) ({status}) == 1)"


_SAMPLE_LABELS: Final = {
    "job": "esper",
    "instance": "run",
    "group_id": "default",
    "rank": "0",
    "env_id": "0",
    "slot": "r0c0",
    "hw_id": "GPU-1",
    "device": "cuda:0",
}


def sample_labels(names: tuple[str, ...], **given: str) -> dict[str, str]:
    """Values that the labels ``names`` have in the tests of the rules, ``given`` ones first."""
    return {name: given.get(name) or _SAMPLE_LABELS[name] for name in names}


def series(name: str, part: str = "", **labels: str) -> str:
    """One series of a metric as the tests of the rules feed it: ``labels``, and a usual value for those that name who.

    Raises:
        KeyError: there is no such metric, or it has no such label.
    """
    usual = {label: text for label, text in _SAMPLE_LABELS.items() if label in labels_of(name) | set(RUN)}
    return metric(name, part, **{**usual, **labels})
