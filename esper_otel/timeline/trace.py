"""The trace as JSON in Chrome's trace event format, which Perfetto and ``chrome://tracing`` read."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, cast

import duckdb
import msgspec

from esper_otel.log.opening import written_whole
from esper_otel.runs.archived import name_of
from esper_otel.sql import connect
from esper_otel.sql.connect import MEMORY_LIMIT
from esper_otel.timeline.tracks import COUNTERS, ROUNDS, SLICES, STEPS, Track

VIEWS: Final = tuple(dict.fromkeys(view for track in (*SLICES, *COUNTERS) for view in track.views))
_BATCH: Final = 1000
_MICROSECONDS: Final = 1e6

Span = tuple[float, float]
"""Begin and end, Unix time, s."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a run that is drawn: one round, one update, its last stretch, or without any of them the whole."""

    round: int | None = None
    update: int | None = None
    since: timedelta | None = None


def write_trace(
    run: str | PathLike[str],
    output: Path,
    choice: Choice,
    *,
    memory_limit: str = MEMORY_LIMIT,
    tell: Callable[[str], object] = lambda _: None,
) -> int:
    """Write the trace of a run, compressed if ``output`` ends with ``.gz``; returns the number of its events.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``.
        ValueError: the run has no such round or update, or Parquet files there are invalid.
        OSError: ``output`` cannot be written.
    """
    with connect([run], memory_limit, views=VIEWS, tell=tell) as connection:
        span = _span(connection, choice)
        with written_whole(output) as file:
            if output.suffix != ".gz":
                return _write(cast(IO[bytes], file), connection, span, name_of(run))
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
                return _write(cast(IO[bytes], packed), connection, span, name_of(run))


def _span(connection: duckdb.DuckDBPyConnection, choice: Choice) -> Span:
    """The stretch of time that is drawn.

    Raises:
        ValueError: the run has no such round or update.
    """
    if choice.round is not None:
        return _of_number(connection, "round", choice.round, ROUNDS)
    if choice.update is not None:
        return _of_number(connection, "update", choice.update, STEPS)
    if choice.since is None:
        return -math.inf, math.inf
    ends = [connection.execute(f"SELECT max(ends) FROM ({track.sql})").fetchall()[0][0] for track in SLICES]
    last = max((end for end in ends if end is not None), default=0.0)
    return last - choice.since.total_seconds(), math.inf


def _of_number(connection: duckdb.DuckDBPyConnection, what: str, number: int, track: Track) -> Span:
    """The stretch of time, over all ranks, of the slice with that number in its name."""
    begins, ends, last = connection.execute(
        "SELECT min(begins) FILTER (number = $number), max(ends) FILTER (number = $number), max(number) FROM"
        f" (SELECT *, TRY_CAST(split_part(name, ' ', 2) AS BIGINT) AS number FROM ({track.sql}))",
        {"number": number},
    ).fetchall()[0]
    if begins is None:
        has = f"the last is {last}" if last else f"it has no {what} at all"
        raise ValueError(f"--{what}: the log has no {what} {number}; {has}")
    return begins, ends


def _write(file: IO[bytes], connection: duckdb.DuckDBPyConnection, span: Span, run: str) -> int:
    count, begins = 0, _first(connection, span)
    began = datetime.fromtimestamp(begins, UTC).isoformat()
    file.write(b'{"displayTimeUnit":"ms","otherData":')
    file.write(msgspec.json.encode({"run": run, "begins": began}) + b',"traceEvents":[')
    for event in _events(connection, span, begins):
        file.write((b",\n" if count else b"\n") + msgspec.json.encode(event))
        count += 1
    file.write(b"\n]}\n")
    return count


def _first(connection: duckdb.DuckDBPyConnection, span: Span) -> float:
    """The origin of the time axis: whole microseconds since 1970 would take half of a float's digits."""
    found = [
        connection.execute(f"SELECT min(begins) FROM ({track.sql}) WHERE ends >= ?", [span[0]]).fetchall()[0][0]
        for track in (*SLICES, *COUNTERS)
    ]
    return min((begin for begin in found if begin is not None), default=0.0)


def _events(connection: duckdb.DuckDBPyConnection, span: Span, origin: float) -> Iterator[dict[str, Any]]:
    tracks = _Tracks()
    for track in SLICES:
        for rank, name, title, begins, ends, args in _rows(connection, track, span):
            thread = tracks.of(rank, name)
            yield from thread.announced()
            begins = min(max(begins, thread.ends), ends)  # slices of one track may not overlap
            thread.ends = max(ends, thread.ends)
            yield {
                "name": title,
                "pid": rank,
                "tid": thread.number,
                "ts": (begins - origin) * _MICROSECONDS,
                **({"ph": "X", "dur": (ends - begins) * _MICROSECONDS} if ends > begins else {"ph": "i", "s": "t"}),
                "args": {key: value for key, value in (args or {}).items() if value is not None},
            }
    for track in COUNTERS:
        for rank, name, _, begins, _, value in _rows(connection, track, span):
            yield from tracks.announce_rank(rank)
            yield {
                "name": name,
                "ph": "C",
                "pid": rank,
                "ts": (begins - origin) * _MICROSECONDS,
                "args": {"value": value},
            }


def _rows(connection: duckdb.DuckDBPyConnection, track: Track, span: Span) -> Iterator[tuple[Any, ...]]:
    cursor = connection.execute(
        f"SELECT rank, track, name, begins, ends, args FROM ({track.sql}) WHERE name IS NOT NULL AND track IS NOT NULL"
        " AND ends >= ? AND begins <= ? ORDER BY ends, begins",
        list(span),
    )
    while rows := cursor.fetchmany(_BATCH):
        yield from rows


class _Thread:
    """One track of a rank; ``ends`` is the end of its last slice."""

    def __init__(self, rank: int, name: str, number: int, before: list[dict[str, Any]]) -> None:
        self.number = number
        self.ends = -math.inf
        order = {"name": "thread_sort_index", "ph": "M", "pid": rank, "tid": number, "args": {"sort_index": number}}
        named = {"name": "thread_name", "ph": "M", "pid": rank, "tid": number, "args": {"name": name}}
        self._unsaid = [*before, named, order]

    def announced(self) -> list[dict[str, Any]]:
        """Its name, once."""
        said, self._unsaid = self._unsaid, []
        return said


class _Tracks:
    """The tracks so far, in the order in which they are drawn."""

    def __init__(self) -> None:
        self._threads: dict[tuple[int, str], _Thread] = {}
        self._ranks: set[int] = set()

    def of(self, rank: int, name: str) -> _Thread:
        found = self._threads.get((rank, name))
        if found is None:
            number = 1 + sum(of == rank for of, _ in self._threads)
            found = self._threads[rank, name] = _Thread(rank, name, number, self.announce_rank(rank))
        return found

    def announce_rank(self, rank: int) -> list[dict[str, Any]]:
        """The name of a rank's group of tracks, once."""
        if rank in self._ranks:
            return []
        self._ranks.add(rank)
        return [
            {"name": "process_name", "ph": "M", "pid": rank, "args": {"name": f"rank {rank}"}},
            {"name": "process_sort_index", "ph": "M", "pid": rank, "args": {"sort_index": rank}},
        ]
