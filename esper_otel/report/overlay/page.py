"""The page that lays runs over one another, with the verdict of each group against the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec

from esper_otel.comparison.compare import Comparison, compare
from esper_otel.comparison.sides import Group, groups_of
from esper_otel.log.opening import written_whole
from esper_otel.report.overlay.bands import charts_of
from esper_otel.report.page import rendered


class Against(msgspec.Struct, frozen=True):
    """A group's comparison with the first one."""

    label: str
    comparison: Comparison


def write_overlay(
    given: Sequence[str], out: str | PathLike[str], tell: Callable[[str], object] = lambda _: None
) -> None:
    """Write the page of several runs to the file ``out``; a reader sees the old file or the new one.

    Args:
        given: runs, directories of runs, or several with commas between them, as for ``esper-otel compare``.
        out: where the page goes.
        tell: called with a sentence for people where a log or ``run.json`` cannot be read.

    Raises:
        FileNotFoundError: there is nothing to read at one of them, or no directory to write to.
        ValueError: none of the runs has a reward, an accuracy or a loss, or Parquet files are invalid.
        OSError: the page cannot be written.
    """
    page = overlay(given, tell)
    with written_whole(Path(out)) as file:
        file.write(page.encode("utf-8", "replace"))


def overlay(given: Sequence[str], tell: Callable[[str], object] = lambda _: None) -> str:
    """The page as text, as for :func:`write_overlay`."""
    groups = groups_of(given, tell)
    if not any(run.curves for group in groups for run in group.runs):
        raise ValueError(f"none of {', '.join(given)} has a reward, an accuracy or a loss to draw")
    return rendered(files("esper_otel.report.overlay") / "overlay.html.jinja", _content(groups))


def _content(groups: list[Group]) -> dict[str, Any]:
    labels = labels_of(groups)
    first, *others = zip(labels, groups, strict=True)
    return {
        "groups": list(zip(labels, groups, strict=True)),
        "charts": charts_of(groups, labels),
        "against": [Against(label, compare(first[1].runs, group.runs)) for label, group in others],
        "first": first[0],
        "settings": differing(groups),
    }


def labels_of(groups: Sequence[Group]) -> list[str]:
    """A name for each group that no other has, with the number of its runs where there are several."""
    names = [f"{group.name} ({len(group.runs)} runs)" if len(group.runs) > 1 else group.name for group in groups]
    return [name if names.count(name) == 1 else f"{number}: {name}" for number, name in enumerate(names, start=1)]


def differing(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in every run, with their values in each group."""
    names = dict.fromkeys(name for group in groups for run in group.runs for name in run.settings)
    rows = [
        (name, [sorted({run.settings.get(name, "absent") for run in group.runs}) for group in groups]) for name in names
    ]
    return [(name, [", ".join(each) for each in values]) for name, values in rows if len({*map(tuple, values)}) > 1]
