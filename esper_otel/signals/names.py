"""The Prometheus name of a metric, the same on every path.

A metric reaches Prometheus by a scrape, through a collector or by its OTLP receiver. Names that obey the rules checked
here are translated alike on all of them (UnderscoreEscapingWithSuffixes, the default everywhere); the tests prove it
against the translators themselves.
"""

import re
from collections.abc import Mapping
from typing import Final

UNIT_SUFFIX: Final[dict[str, str]] = {
    "s": "seconds",
    "By": "bytes",
    "J": "joules",
    "W": "watts",
    "Cel": "celsius",
    "Hz": "hertz",
    "V": "volts",
    "By/s": "bytes_per_second",
}
"""Suffix that a translator appends for a unit. ``1`` is for ``*.ratio`` names alone, ``{thing}`` adds nothing."""

UNIT_WORDS: Final = frozenset(
    {*UNIT_SUFFIX.values(), "second", "ms", "milliseconds", "gb", "mib", "percent", "pct", "total"}
)
"""Words that translators treat differently inside a name."""

SERIES_WORDS: Final = frozenset({"bucket", "count", "sum"})
"""Endings of a histogram's series; promtool rejects them on any other name."""

_WORDS = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_NAME = re.compile(rf"{_WORDS}(\.{_WORDS})+")


def problems_of_name(name: str, unit: str) -> list[str]:
    """Problems with a metric name and its unit, as sentences; empty if the name is the same on every path."""
    problems = []
    if not _NAME.fullmatch(name):
        problems.append("the name must be lower-case words joined by one '_' or '.', starting with a domain")
    words = re.split(r"[._]", name)
    if found := sorted(UNIT_WORDS.intersection(words)):
        problems.append(f"the name contains {', '.join(found)}: units and 'total' are appended by the translators")
    if words[-1] in SERIES_WORDS:
        problems.append(f"the name ends in {words[-1]!r}, as the series of a histogram do")
    if unit == "1" and "ratio" in words[:-1]:
        problems.append("a name with unit '1' contains 'ratio' once, at its end")
    if unit == "1" and not name.endswith(".ratio"):
        problems.append("unit '1' is for names that end in '.ratio'; a plain number has no unit")
    if name.endswith(".ratio") and unit != "1":
        problems.append("a name that ends in '.ratio' has unit '1'")
    if unit not in {"", "1"} and unit not in UNIT_SUFFIX and not re.fullmatch(r"\{[a-z_]+\}", unit):
        problems.append(f"unit {unit!r} is not allowed; use {', '.join(UNIT_SUFFIX)}, 1 or {{thing}}")
    return problems


def prometheus_name(name: str, unit: str, instrument: str) -> str:
    """Name in Prometheus, without the ``_bucket``, ``_sum`` and ``_count`` of a histogram.

    Args:
        name: OpenTelemetry name, ``tamiyo.update.duration``.
        unit: UCUM unit.
        instrument: OpenTelemetry instrument: gauge, counter, updowncounter or histogram.
    """
    translated = name.replace(".", "_")
    suffix = UNIT_SUFFIX.get(unit)
    if suffix is not None and not translated.endswith(f"_{suffix}"):
        translated = f"{translated}_{suffix}"
    if instrument == "counter":
        translated = f"{translated}_total"
    return translated


def prometheus_label(attribute: str) -> str:
    """Label of an attribute: any character but a letter, digit or underscore becomes an underscore, on every path."""
    label = _NO_LABEL.sub("_", attribute)
    return f"key_{label}" if label[:1].isdigit() else label


def resource_labels(attributes: Mapping[str, object]) -> dict[str, str]:
    """Labels of ``target_info`` for resource attributes, whatever their names.

    Values of attributes that share a label are joined by ``;`` in the order of their names, as OpenTelemetry's
    specification says. Labels reserved by Prometheus (``__name__``) are left out.
    """
    labels: dict[str, str] = {}
    for name in sorted(attributes):
        label = prometheus_label(name)
        if label.strip("_") and not label.startswith("__"):
            labels[label] = f"{labels[label]};{attributes[name]}" if label in labels else str(attributes[name])
    return labels
