"""The Prometheus name of a metric, the same on every path.

A metric reaches Prometheus by a scrape, through a collector or by its OTLP receiver. Names that obey the rules checked
here are translated alike on all of them (UnderscoreEscapingWithSuffixes, the default everywhere); the tests prove it
against the translators themselves.
"""

import re
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
    {"seconds", "second", "ms", "milliseconds", "bytes", "gb", "mib", "percent", "pct", "total"}
)
"""Words that translators treat differently when they stand inside a name."""

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


def problems_of_name(name: str, unit: str) -> list[str]:
    """What is wrong with a metric name and its unit, as sentences; empty when it is the same on every path."""
    problems = []
    if not _NAME.fullmatch(name):
        problems.append("the name must be lower-case words joined by '_' and '.', starting with a domain")
    words = set(re.split(r"[._]", name))
    if found := sorted(words & UNIT_WORDS):
        problems.append(f"the name holds {', '.join(found)}: units and 'total' are appended by the translators")
    if unit == "1" and not name.endswith(".ratio"):
        problems.append("unit '1' is for names that end in '.ratio'; leave the unit out of a plain number")
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
    """Label of an attribute."""
    return attribute.replace(".", "_")
