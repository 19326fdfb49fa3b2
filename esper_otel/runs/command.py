"""The command ``runs``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from esper_otel.archive.address import is_address
from esper_otel.runs.filters import condition_of, meeting, ordered, refuse_unknown
from esper_otel.runs.index import without_collector
from esper_otel.runs.listing import shown_in
from esper_otel.runs.rows import Row
from esper_otel.runs.summary import OUTCOMES
from esper_otel.text.terminal import printable

MAX_ROWS: Final = 50
BY_START: Final = ("started_at", "run")
"""Columns that no session changes which continues a run."""

_SETTINGS: Final = 6
"""Settings of a run that a table has room for: those in which the shown runs differ."""


def runs(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Directory of runs, or address of an archive such as s3://bucket/prefix. Default:"
            " $ESPER_OTEL_TELEMETRY_DIR or ./telemetry.",
            show_default=False,
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Condition, for example 'best_reward > 5', 'state = failed', 'tags = baseline'; all must hold."
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="Column or setting to sort by; with - before it, the greatest first.")
    ] = "-started_at",
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of runs; 0 for all.")] = MAX_ROWS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs of a directory: state, start, duration, outcome, settings, tags and notes. Logs are only read.

    Keeps an index beside the runs, or in the user's cache directory; it may be deleted at any time. Exit status 2: the
    directory cannot be read, or a condition makes no sense.
    """
    place = directory or Path(os.environ.get("ESPER_OTEL_TELEMETRY_DIR") or "telemetry").expanduser()
    try:
        conditions = [condition_of(text) for text in where or []]
        found: Sequence[Row] = []

        def choose(rows: Sequence[Row]) -> Sequence[Row]:
            nonlocal found
            refuse_unknown(rows, [*(each.column for each in conditions), sort.removeprefix("-")])
            found = meeting(rows, conditions)
            return ordered(found, sort, limit)

        with without_collector():
            shown = shown_in(place, choose, _tell, is_by_start=not conditions and sort.removeprefix("-") in BY_START)
    except FileNotFoundError as error:
        _tell(str(error) if is_address(place) else f"{place} does not exist: give a directory of runs")
        raise typer.Exit(2) from None
    except (OSError, ValueError) as error:
        _tell(str(error))
        raise typer.Exit(2) from None
    if as_json:
        text = msgspec.json.format(msgspec.json.encode([row.as_json() for row in shown]), indent=2)
        sys.stdout.write(text.decode() + "\n")
        return
    _print(shown)
    if len(found) > len(shown):
        print(f"{len(shown)} of {len(found)} runs; --limit 0 shows all")


def _print(rows: Sequence[Row]) -> None:
    """A table with the columns that some run has a value in, as many as the terminal has room for."""
    if not rows:
        print("no runs")
        return
    from rich import box  # not for JSON
    from rich.console import Console
    from rich.table import Table

    cells = {title: [printable(text(row)) for row in rows] for title, text in _SHOWN.items()}
    cells["settings"] = list(map(printable, _differing(rows)))
    cells = {title: column for title, column in cells.items() if any(column)}
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _width(cells)  # a file or a pipe has room for everything
    left_out = _without_room(cells, console.width)
    cells = {title: column for title, column in cells.items() if title not in left_out}
    table = Table(box=box.SIMPLE_HEAD)
    for title in cells:
        table.add_column(title, overflow="fold", no_wrap=title in _UNBROKEN)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    console.print(table)
    if left_out:
        print(f"Not shown, for want of room: {', '.join(left_out)}. A wider terminal, a pipe or --json has them.")


def _without_room(cells: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Columns without which the others fit."""
    left_out: list[str] = []
    for title in (title for title in _LEAST_FIRST if title in cells):
        if _width({name: column for name, column in cells.items() if name not in left_out}) <= width:
            break
        left_out.append(title)
    return left_out


def _width(cells: Mapping[str, Sequence[str]]) -> int:
    """Columns of the screen that a table takes without folding a cell."""
    return 2 + sum(3 + max(len(title), *map(len, column)) for title, column in cells.items())


def _text(column: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value: Any = row.value(column)
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return "" if value is None else str(value)

    return text


def _state(row: Row) -> str:
    return row.problem or row.state


def _started(row: Row) -> str:
    return str(row.value("started_at") or "")[:16].replace("T", " ")


def _took(row: Row) -> str:
    seconds = row.value("duration_s")
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))


def _outcome(name: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        last, best = row.value(name), row.value(f"best_{name}")
        return "" if last is None else f"{last:.4g} ({best:.4g})"

    return text


_SHOWN: Final[dict[str, Callable[[Row], str]]] = {
    "run": _text("run"),
    "state": _state,
    "started": _started,
    "took": _took,
    "rounds": _text("rounds"),
    "updates": _text("updates"),
    **{f"{name} (best)": _outcome(name) for name in OUTCOMES},
    "tags": _text("tags"),
    "notes": _text("notes"),
}
"""Columns of the table by their title; one that no run has a value in is left out."""

_UNBROKEN: Final = frozenset({"started", "took", "rounds"})
_LEAST_FIRST: Final = ("settings", "notes", "tags", "loss (best)", "updates", "reward (best)", "rounds", "took")
"""Columns that a narrow terminal goes without, in this order."""


def _differing(rows: Sequence[Row]) -> list[str]:
    """Settings in which the rows differ, as one text a row; all of a single one's."""
    values: dict[str, set[str]] = {name: set() for row in rows for name in row.settings}
    for name, found in values.items():
        found |= {str(row.settings.get(name)) for row in rows}
    names = [name for name, found in values.items() if len(found) > 1 or len(rows) == 1][:_SETTINGS]
    return [" ".join(f"{name}={row.settings[name]}" for name in names if name in row.settings) for row in rows]


def _tell(text: str) -> None:
    print(f"esper-otel runs: {printable(text)}", file=sys.stderr)
