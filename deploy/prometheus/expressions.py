"""PromQL from the registry: an expression can only name a metric that exists, with labels that it has.

Every function returns text. Times are chosen for scrapes every 15 s and a Prometheus that may be away for 8 minutes.
"""

from typing import Final

from esper_otel.events.declare import Threshold
from esper_otel.signals import SIGNALS, Signal
from esper_otel.signals.names import prometheus_label
from esper_otel.signals.own import OWN_SIGNALS, OwnSignal

RUN: Final = ("job", "instance")
"""Labels that name a run; they come from the scrape configuration and not from the registry."""

ARM: Final = (*RUN, "group_id")
"""A run, or one arm of an A/B run."""

GPU: Final = (*RUN, "hw_id", "device")

WINDOW: Final = "15m"
"""How far back a single event is looked for: longer than the gap that must be survived, by a margin of evaluations."""

_ALL: Final[tuple[Signal | OwnSignal, ...]] = (*SIGNALS, *OWN_SIGNALS)
_LABELS: Final = {signal.name: frozenset({*RUN, *map(prometheus_label, signal.attributes)}) for signal in _ALL}
_NAMES: Final = {signal.name: signal.prometheus_name for signal in _ALL}
_HISTOGRAMS: Final = frozenset(signal.name for signal in SIGNALS if signal.bounds)
_THRESHOLDS: Final = {signal.name: signal.threshold for signal in SIGNALS if signal.threshold is not None}


def metric(name: str, part: str = "", **labels: str) -> str:
    """A selector of the metric with the OpenTelemetry name ``name``.

    Args:
        name: ``tamiyo.updates``.
        part: of a histogram: bucket, sum or count.
        labels: value that each label must have; ``~`` before it makes it an expression, ``!`` and ``!~`` exclude it.

    Raises:
        KeyError: there is no such metric, or it has no such label.
    """
    if name not in _NAMES or bool(part) != (name in _HISTOGRAMS):
        raise KeyError(f"the registry has no metric {name!r}{f' with a {part!r}' if part else ''}")
    if unknown := set(labels) - _LABELS[name] - ({"le"} if part == "bucket" else set()):
        raise KeyError(f"metric {name!r} has no label {', '.join(sorted(unknown))}")
    selected = ",".join(_matcher(label, value) for label, value in labels.items())
    return f"{_NAMES[name]}{f'_{part}' if part else ''}{f'{{{selected}}}' if selected else ''}"


def _matcher(label: str, value: str) -> str:
    for sign, operator in (("!~", "!~"), ("!", "!="), ("~", "=~")):
        if value.startswith(sign):
            return f'{label}{operator}"{value.removeprefix(sign)}"'
    return f'{label}="{value}"'


def threshold(name: str) -> Threshold:
    """The limits of a metric that counts violations.

    Raises:
        KeyError: the metric counts none.
    """
    return _THRESHOLDS[name]


def limit(name: str, side: str) -> str:
    """One limit of a metric that counts violations as text; ``side`` is ``critical_above`` or the like."""
    value: float = getattr(threshold(name), side)
    return f"{value:g}"


def counted(selector: str, by: tuple[str, ...] = ARM) -> str:
    """How often a counter counted lately: one count is enough, also when the series was born with it.

    ``increase`` alone misses a series whose first sample is already 1, and the second arm alone misses every later
    count; each arm needs a ``> 0`` of its own, or the 0 of the first one would hide the second.
    """
    return (
        f"sum by ({', '.join(by)}) (\n"
        f"    (increase({selector}[{WINDOW}]) > 0)\n"
        f"  or\n"
        f"    (({selector} unless {selector} offset {WINDOW}) > 0)\n"
        f")"
    )


def share(part: str, whole: str, *, above: float, over: str = "30m", by: tuple[str, ...] = ARM, least: int = 1) -> str:
    """Counter ``part`` over counter ``whole`` above a share, once ``whole`` counted ``least`` times."""
    labels = ", ".join(by)
    enough = f"\n  and sum by ({labels}) (increase({whole}[{over}])) >= {least}" if least > 1 else ""
    return (
        f"sum by ({labels}) (increase({part}[{over}]))\n"
        f"  / clamp_min(sum by ({labels}) (increase({whole}[{over}])), 1) > {above:g}{enough}"
    )


def while_running(expression: str) -> str:
    """Only while the run goes on, stalled or not."""
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
    usual = {label: text for label, text in _SAMPLE_LABELS.items() if label in _LABELS[name]}
    return metric(name, part, **{**usual, **labels})
