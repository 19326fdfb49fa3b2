"""Panels of words: the state of a run, verdicts, lanes of states over time."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import common, stat, statetimeline
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models

from grafana.panels.kinds import Shown, finish, legend_below, ranged, stat_panel
from grafana.panels.panel import GREY, Panel, Query, mapping, missing, steps, target
from grafana.queries.promql import Prom, ended, state
from grafana.queries.truth import STATES

SHORT: Final = 20
SENTENCE_PIXELS: Final = 14
"""Size of a sentence of more than so many letters: one that fills its panel is cut in the next one's width."""


def words_panel(
    key: str,
    title: str,
    good: str,
    what: Prom,
    words: dict[int, tuple[str, str]],
    *,
    missing_word: str,
    width: int = 4,
    height: int = 4,
) -> Panel:
    """A number as a word on a colour, and a grey ``missing_word`` where there is none."""
    queries = (Query(what=what, legend=key, instant=True),)
    builder = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).unit("none")
    builder.text_mode(shown.BigValueTextMode.VALUE).color_mode(shown.BigValueColorMode.BACKGROUND_SOLID)
    builder.graph_mode(shown.BigValueGraphMode.NONE).thresholds(steps(None, base=GREY))
    if max(map(len, (missing_word, *(word for word, _ in words.values())))) > SHORT:
        builder.text(common.VizTextDisplayOptions().value_size(SENTENCE_PIXELS))
    builder.mappings([mapping(words), missing(missing_word)]).no_value(f"No data: {missing_word}")
    builder.with_target(target(queries[0], "A"))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=missing_word,
    )  # fmt: skip


def state_panel(key: str, title: str, good: str, *, width: int = 4, height: int) -> Panel:
    """The state of the run."""
    return words_panel(key, title, good, state(), STATES, missing_word="no such run", width=width, height=height)


def ended_panel(*, width: int = 3, height: int) -> Panel:
    """The end of the run."""
    return stat_panel(
        "ended",
        "Ended",
        "The time of the last event once the run is over, however it ended; none while it goes on.",
        ("ended", ended()),
        width=width,
        height=height,
        limits=None,
        unit="dateTimeAsIsoNoDateIfToday",
        missing_word="no end known",
        empty="the run goes on, or its log does not tell its end",
    )


def state_timeline_panel(
    key: str,
    title: str,
    good: str,
    *what: Shown,
    states: dict[int, tuple[str, str]],
    lanes: int | None = None,
    width: int = 12,
    height: int = 8,
    empty: str | None = None,
) -> Panel:
    """A lane for each series.

    Args:
        key: see :class:`Panel`.
        states: word and colour of each value.
        lanes: how many a page has; None for all on one.
    """
    queries = tuple(ranged(item) for item in what)
    builder = statetimeline.Panel().unit("short").mappings([mapping(states), missing(colour="transparent")])
    builder.merge_values(True).show_value(shown.VisibilityMode.AUTO).row_height(0.8).line_width(0).span_nulls(False)
    builder = builder.disable_pagination() if lanes is None else builder.per_page(lanes)
    # By thresholds the panel would show limits in place of the words.
    builder.color_scheme(sdk.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    builder.legend(legend_below())  # lanes are often too short for a word
    finish(builder, queries, empty)
    # An answer without fields is taken away: of one Grafana says that a time is missing.
    some = {"include": {"pattern": ".*"}}
    builder.with_transformation(models.DataTransformerConfig(id_val="filterFieldsByName", options=some))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )
