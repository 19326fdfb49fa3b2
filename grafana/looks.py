"""Rules of what a person sees: nothing is cut, stretched or left empty on a small screen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from grafana.built import Json, asked_of_prometheus, panels_of
from grafana.panels.axes import LEAST

COLUMNS: Final = 24
COLUMN_PIXELS, ICONS_PIXELS, LETTER_PIXELS = 43.2, 80.0, 7.4
"""One of 24 columns of a window of 1366 pixels with Grafana's menu; icons beside a title; a letter of it, mean."""


def titles_fit(dashboard: Json) -> Iterator[str]:
    """A title is not cut on a small screen."""
    for panel in panels_of(dashboard):
        room = int((panel["gridPos"]["w"] * COLUMN_PIXELS - ICONS_PIXELS) / LETTER_PIXELS)
        if len(panel["title"]) > room:
            yield f"titles: {panel['title']!r} has {len(panel['title'])} letters, and room for {room}"


def lines_are_full(dashboard: Json) -> Iterator[str]:
    """No line of panels ends in a hole."""
    for panels in (dashboard["panels"], *(one.get("panels", []) for one in dashboard["panels"])):
        filled: dict[int, int] = {}
        for panel in panels:
            filled[panel["gridPos"]["y"]] = filled.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
        yield from (f"lines: {width} of 24 columns at line {y}" for y, width in filled.items() if width != COLUMNS)


SHOWS_WORDS: Final = {"stat", "table", "bargauge"}
ARM, MANY_NUMBERS = "{{group_id}}", 3


def arms_are_apart(dashboard: Json) -> Iterator[str]:
    """Arms of a run are not side by side in a strip of many numbers."""
    for panel in panels_of(dashboard):
        has_arms = any(ARM in one.get("legendFormat", "") for one in asked_of_prometheus(panel))
        numbers = sum(one["expr"].count('"line", ') for one in asked_of_prometheus(panel))
        if has_arms and panel["type"] == "stat" and numbers > MANY_NUMBERS:
            yield f"arms: {panel['title']} has {numbers} numbers for each arm; make it a table, or sum them up"


def zeros_are_low(dashboard: Json) -> Iterator[str]:
    """A line of zeros lies on an axis that ends near 0: left alone, Grafana ends it at 100."""
    for panel in panels_of(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        custom = defaults.get("custom", {})
        is_free = "max" not in defaults and "scaleDistribution" not in custom
        if panel["type"] == "timeseries" and defaults["unit"] in LEAST and is_free and "axisSoftMax" not in custom:
            yield f"zeros: {panel['title']} has no least end of its axis"


def zeros_have_a_place(dashboard: Json) -> Iterator[str]:
    """No axis is purely logarithmic: one value of 0, as of a policy that is stuck, and Grafana draws nothing."""
    for panel in panels_of(dashboard):
        scale = panel["fieldConfig"]["defaults"].get("custom", {}).get("scaleDistribution", {})
        if scale.get("type") == "log":
            yield f"logarithm: {panel['title']} has no place for 0; use log_above"


def headers_are_whole(dashboard: Json) -> Iterator[str]:
    """Names of columns take as many lines as they need."""
    for panel in panels_of(dashboard):
        properties = [one["id"] for override in panel["fieldConfig"]["overrides"] for one in override["properties"]]
        if panel["type"] == "table" and "custom.wrapHeaderText" not in properties:
            yield f"headers: {panel['title']} cuts names of columns"


def words_are_readable(dashboard: Json) -> Iterator[str]:
    """No number and no word is yellow: on the white of the light theme Grafana's yellows have a contrast below 2.6."""
    for panel in panels_of(dashboard):
        if panel["type"] in SHOWS_WORDS and re.search(r'"color": "[a-z-]*yellow"', json.dumps(panel["fieldConfig"])):
            yield f"words: {panel['title']} has yellow ones, which are hard to read on white"


LOOKS: Final[tuple[Callable[[Json], Iterator[str]], ...]] = (
    titles_fit,
    lines_are_full,
    arms_are_apart,
    zeros_are_low,
    zeros_have_a_place,
    headers_are_whole,
    words_are_readable,
)
