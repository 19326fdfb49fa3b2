"""Parts of a chart of the report: series, axes, marks, and their texts.

Texts are escaped, because Plotly reads them as a kind of HTML.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from esper_otel.events.declare import Severity

MAX_NAME: Final = 32
"""Letters of a name at an axis or in a legend; the chart needs the room."""


class Mark(msgspec.Struct, frozen=True):
    """Shape of a kind of point; shape and colour differ, so that one of them is enough.

    ``edge`` is the colour around it where it lies on bars.
    """

    name: str
    symbol: str
    color: str
    edge: str | None = None


VIOLATION: Final = {
    Severity.CRITICAL: Mark("beyond critical limit", "diamond", "#e5484d"),
    Severity.WARNING: Mark("beyond warning limit", "circle-open", "#c47a12"),
}
NOT_FINITE: Final = Mark("NaN or infinite", "x", "#e5484d")
SKIPPED: Final = Mark("update skipped", "triangle-down", "#9a6ee8")


class Axis(msgspec.Struct, frozen=True):
    """One row of a chart."""

    title: str
    is_log: bool = False
    from_zero: bool = False


class Series(msgspec.Struct, frozen=True):
    """Values over x, with a text for each point."""

    x: Sequence[Any]
    values: Sequence[float | None]
    texts: Sequence[str]

    @property
    def is_measured(self) -> bool:
        """Return True if there is any value, finite or not."""
        return any(value is not None for value in self.values)


class Chart(msgspec.Struct, frozen=True):
    """A chart with its notes; without a figure if none of its values was measured."""

    title: str
    about: str
    notes: tuple[str, ...] = ()
    figure: Any = None
    height_px: int = 0
    arm: str = ""

    @property
    def json(self) -> str:
        """The figure as JSON that may stand in a script element."""
        return script_safe(self.figure.to_json())


def escaped(text: object) -> str:
    """``text`` for a figure: Plotly shows it letter by letter."""
    return html.escape(str(text), quote=False).replace("\n", " ")


def script_safe(text: str) -> str:
    """JSON that a script element may hold: nothing in it ends the element or begins a comment."""
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def not_measured(title: str, about: str, why: str) -> Chart:
    """A chart without data in the log."""
    return Chart(title, about, (f"Not measured: {why}",))


def missing(labelled: Sequence[tuple[str, Series]]) -> list[str]:
    """One sentence about the series without data; none if all have some."""
    names = [name for name, series in labelled if not series.is_measured]
    return [f"Not measured in this log: {', '.join(names)}."] if names else []


def zeros(values: Iterable[float | None]) -> list[str]:
    """One sentence about norms that a logarithmic axis leaves out; none without any."""
    count = sum(value == 0 for value in values)
    return [f"{count} norms are exactly 0, which a logarithmic axis cannot show."] if count else []


def in_order(names: Iterable[str], vocabulary: Sequence[str]) -> list[str]:
    """Each of ``names`` once, those of ``vocabulary`` first and in its order, so that a colour means the same."""
    found = set(names)
    return [name for name in vocabulary if name in found] + sorted(found.difference(vocabulary))


def cut(name: str) -> str:
    """A name for an axis or a legend."""
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"
