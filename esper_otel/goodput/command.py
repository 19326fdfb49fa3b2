"""The command ``goodput``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from esper_otel.goodput.measure import Report, measure
from esper_otel.goodput.shares import MEASURED, Goodput
from esper_otel.sql.connect import MEMORY_LIMIT
from esper_otel.sql.plain import plain
from esper_otel.sql.select import out_of_memory
from esper_otel.text.terminal import printable


def goodput(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or Parquet directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, of all ranks.")] = False,
    rank: Annotated[int | None, typer.Option(help="Rank to print. Default: the lowest.")] = None,
    memory_limit: Annotated[
        str, typer.Option("--memory-limit", help="Memory limit of DuckDB, for example 512MB.")
    ] = MEMORY_LIMIT,
) -> None:
    """Show where the time of a run went: useful steps, waiting for data, checkpoints, restarts. Read-only.

    All sessions of the run count. The shares sum to the wall time; what nothing measured is shown as such. Where the
    log tells the total, the time that is left is shown as well. Exit status 2: the run cannot be read, or has no such
    rank.
    """
    try:
        found = measure(run, memory_limit=memory_limit, tell=_tell)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _tell(out_of_memory(str(error)))
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(plain(found.as_json()), indent=2))
        return
    shown = [each for each in found.ranks if rank is None or each.rank == rank][:1]
    if rank is not None and not shown:
        _tell(
            f"--rank: the log has no rank {rank}; it has {', '.join(str(each.rank) for each in found.ranks) or 'none'}"
        )
        raise typer.Exit(2)
    print("\n".join(lines(shown, found)))


def lines(shown: list[Goodput], found: Report) -> Iterator[str]:
    """The report as lines for people."""
    if not shown:
        yield "The log has no event that tells a time."
    for each in shown:
        of = f", rank {each.rank} of {len(found.ranks)}" if len(found.ranks) > 1 else ""
        yield f"{_span(each.wall_s)} in {each.sessions} session{'s' if each.sessions > 1 else ''}{of}"
        for use, seconds in each.spent_s.items():
            yield f"  {use:<20}{_share(seconds, each.wall_s):>7}  {_span(seconds)}"
        absent = [use for use in MEASURED if use not in each.spent_s]
        if absent:
            yield f"  nothing measured: {', '.join(absent)}"
        if each.overlaps:
            yield "  phases overlap, as work of a device beside the host's does; they are scaled to the wall time"
    if found.left is not None:
        left = found.left
        yield f"{left.done} of {left.total} episodes; {_span(left.eta_s)} left at the pace of late"


def _share(seconds: float, wall_s: float) -> str:
    return f"{seconds / wall_s:.1%}" if wall_s > 0 else ""


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _tell(text: str) -> None:
    print(f"esper-otel goodput: {printable(text)}", file=sys.stderr)
