"""Time in a query: the present, the last value of a run, gaps.

A query is written once and asked in two ways. A chart asks it at every step. A number asks it once, and its answer must
not depend on the time that the dashboard shows. :func:`at_every_step` and :func:`at_the_end` fill in the difference.
"""

from __future__ import annotations

import re
from typing import Final

from esper_otel.alerts.promql import RUN, metric

KEPT: Final = "30d"
"""How long Prometheus keeps samples, and so how far back the last value of a run is looked for."""

ALIVE_WITHIN: Final = "1m"
"""A run without a sample for so long is not scraped any more: four scrapes of 15 s."""

GAP_MS: Final = 60_000
"""A chart draws no line over a longer time without samples."""

STEP: Final = "$__rate_interval"
"""Window at one step of a chart: the step and one scrape, at least four scrapes."""

SMOOTHING: Final = "smoothing"
"""Variable with the time over which lines are smoothed; it may be shorter than the time between two samples."""

RECENT: Final = "2m"
"""Window of a rate that is a single number."""

STATES: Final[dict[int, tuple[str, str]]] = {
    0: ("end unknown", "#8e8e8e"),
    1: ("running", "green"),
    2: ("stalled", "orange"),
    3: ("finished", "blue"),
    4: ("interrupted", "#b38600"),
    5: ("failed", "red"),
    6: ("died", "dark-red"),
    7: ("vanished", "purple"),
}
"""Word and colour of each state of a run by its number; the relay reports 1 to 6."""

OVER: Final = 3
"""Least number of a state in which the run is over."""

ALIVE: Final = (1, 2)
"""Numbers of the states of a run that goes on."""

_VANISHED: Final = 7
_VALUE: Final = re.compile("⟦(.*?)⟧")
_WINDOW: Final = "⟦⟧"
_MATCHER: Final = re.compile(r'(\w+)(=~?)"([^"]*)"')


def value(selector: str) -> str:
    """The value of a gauge or a counter."""
    return f"⟦{selector}⟧"


def smoothed(selector: str) -> str:
    """The mean of the last values of a gauge in a chart, over the time that :data:`SMOOTHING` names."""
    return f"(avg_over_time({selector}[${SMOOTHING}]) or {value(selector)})"


def window() -> str:
    """The time over which a rate is taken."""
    return _WINDOW


def at_every_step(text: str) -> str:
    """``text`` for a chart: each value is the last one since the step before."""
    return _VALUE.sub(rf"last_over_time(\1[{STEP}])", text.replace(_WINDOW, STEP))


def at_the_end(text: str) -> str:
    """``text`` for a single number, asked once at the end of the time shown.

    A run that is scraped then shows what it reports: a value that it no longer measures is absent. Of a run that is
    not, each value is the last one that Prometheus has.
    """
    return _VALUE.sub(lambda found: _last(found[1]), text.replace(_WINDOW, RECENT))


def _last(selector: str) -> str:
    chosen = {
        label: f"~{text}" if sign == "=~" else text for label, sign, text in _MATCHER.findall(selector) if label in RUN
    }
    scraped = metric("esper.run.status", **chosen)
    return f"({selector} or (last_over_time({selector}[{KEPT}]) unless on (job, instance) {scraped}))"


def whole_run(function: str, selector: str) -> str:
    """A function over all samples of a run, whatever time is shown."""
    return f"{function}({selector}[{KEPT}])"


def state(**run: str) -> str:
    """The number of a run's state, by job and instance: a key of :data:`STATES`.

    What the relay said last counts, unless it said that the run lives and has not been scraped since.
    """
    reported = " or ".join(
        f"{number} * {whole_run('last_over_time', metric('esper.run.status', esper_run_state=word, **run))}"
        for number, (word, _) in STATES.items()
        if 0 < number < _VANISHED
    )
    known = f"max by (job, instance) ({reported})"
    scraped = f"max by (job, instance) (present_over_time({metric('esper.run.status', **run)}[{ALIVE_WITHIN}]))"
    lost = f"({known} > 0 <= {max(ALIVE)}) unless on (job, instance) {scraped}"
    return f"(({lost}) * 0 + {_VANISHED}) or {known}"


def once_over(moment_s: str, number: str) -> str:
    """A time as Unix ms where ``number``, that of the run's state, is one in which the run is over."""
    return f"floor(1000 * {moment_s}) and on (job, instance) (({number}) >= {OVER})"


def no_data(reason: str | None, source: str, *, in_time: bool) -> str:
    """Text of a panel without data: nobody checked why, so it names every possible cause.

    Args:
        reason: why a run may have none, as a sentence or two; None where every run should have some.
        source: name of the data source.
        in_time: whether it was asked for the time shown only, not for the whole run.
    """
    causes = {
        "prometheus": f"Prometheus has nothing of this run{' in the time shown' if in_time else ''}",
        "loki": "Loki is not there or has nothing of this run in the time shown",
        "tempo": "Tempo is not there or has nothing of this run in the time shown",
    }
    first = f"{reason.rstrip('.')} – or " if reason else ""
    return f"No data: {first}{causes[source]}."
