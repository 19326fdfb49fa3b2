"""The process that answers questions, one at a time, until its input ends.

``python -m esper_otel.mcp_server.worker SCRATCH``: all its temporary files lie in SCRATCH, which it removes. It
keeps the last connection, so that a run that has not grown is not read again.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from esper_otel.comparison.compare import compare
from esper_otel.comparison.curves import outcomes_of
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.reported import findings_in
from esper_otel.goodput.measure import measure
from esper_otel.mcp_server.directories import files_of
from esper_otel.mcp_server.messages import Answer, Question, Rows, Statement
from esper_otel.sql import QueryError, connect, select
from esper_otel.sql.bounded import bounded_memory
from esper_otel.sql.plain import plain
from esper_otel.sql.select import out_of_memory
from esper_otel.sql.staging.workers import read_frame, write_frame

MAX_CELL: Final = 8000
"""Characters of one value; longer texts are cut and marked."""

_GRACE_S: Final = 5
"""The server ends a worker that is late; without a server the worker ends itself."""

Key = tuple[tuple[str, ...], str, tuple[tuple[str, int, int], ...]]


class Worker:
    """Answers questions. Keeps one connection at a time."""

    def __init__(self) -> None:
        """Create it without opening anything."""
        self._key: Key | None = None
        self._views: frozenset[str] = frozenset()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def answer(self, question: Question) -> Answer:
        """Rows or the text that answer ``question``, or the reason why there are none."""
        try:
            if question.about != "rows":
                return Answer(text=msgspec.json.encode(plain(_judged(question))).decode())
            connection = self._connected(question)
            with bounded_memory(connection):
                return Answer({name: rows_of(connection, each) for name, each in question.statements.items()})
        except (QueryError, OSError, ValueError, RuntimeError, duckdb.Error) as error:
            return Answer(error=out_of_memory(str(error)))

    def _connected(self, question: Question) -> duckdb.DuckDBPyConnection:
        key = (tuple(question.runs), question.memory_limit, _state_of(question.runs))
        if self._connection is not None and key == self._key and self._views.issuperset(question.views):
            return self._connection
        views = self._views if key == self._key else frozenset()
        self.close()
        self._connection = connect(question.runs, question.memory_limit, views=sorted(views.union(question.views)))
        self._key, self._views = key, views.union(question.views)
        return self._connection

    def close(self) -> None:
        """Free the memory and the temporary files."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._key, self._views = None, None, frozenset()


def _judged(question: Question) -> dict[str, Any]:
    runs = [Path(run) for run in question.runs]
    if (of_one := _OF_ONE_RUN.get(question.about)) is not None:
        return of_one(runs[0], question.memory_limit)
    arms = [list(outcomes_of(run, memory_limit=question.memory_limit).values()) for run in runs]
    sides = arms[: question.split], arms[question.split :]
    a, b = ([arm for run in side for arm in run] for side in sides)
    return compare(a, b).as_json()


def _findings(run: Path, memory_limit: str) -> dict[str, Any]:
    return {"findings": findings_in(run, memory_limit=memory_limit)}


_OF_ONE_RUN: Final[dict[str, Callable[[Path, str], dict[str, Any]]]] = {
    "diagnosis": lambda run, limit: diagnose(run, memory_limit=limit).as_json(),
    "goodput": lambda run, limit: measure(run, memory_limit=limit).as_json(),
    "findings": _findings,
}
"""Answers about one run by the question's ``about``."""


def rows_of(connection: duckdb.DuckDBPyConnection, statement: Statement) -> Rows:
    """Run one statement and fetch at most as much as it may return.

    Raises:
        QueryError: it is not exactly one read-only statement, or DuckDB rejects it.
        duckdb.Error: DuckDB aborted, for example because it ran out of memory.
    """
    result = select(connection, statement.sql)
    columns = [column[0] for column in result.description or ()]
    rows: list[list[Any]] = []
    size = 0
    while (row := result.fetchone()) is not None:
        if len(rows) == statement.max_rows:
            return Rows(columns, rows, f"the first {len(rows)} rows; ask for more, or aggregate")
        cells = [_cut(plain(value)) for value in row]
        size += len(msgspec.json.encode(cells))
        if rows and size > statement.max_bytes:
            return Rows(
                columns, rows, f"the first {len(rows)} rows, more than {statement.max_bytes} bytes are not sent"
            )
        rows.append(cells)
    return Rows(columns, rows)


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}… ({len(text)} characters)"


def _state_of(runs: list[str]) -> tuple[tuple[str, int, int], ...]:
    """Fingerprint that changes with any file of the runs."""
    files = [file for run in runs for file in files_of(Path(run))]
    return tuple((str(file), status.st_size, status.st_mtime_ns) for file in files if (status := file.stat()))


def main() -> None:
    """Answer every question from standard input on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business
    scratch = sys.argv[1]
    tempfile.tempdir = scratch
    worker, decoder = Worker(), msgspec.json.Decoder(Question)
    try:
        while (frame := read_frame(sys.stdin.buffer)) is not None:
            question = decoder.decode(frame)
            signal.alarm(question.limit_s + _GRACE_S)
            answer = worker.answer(question)
            signal.alarm(0)
            write_frame(sys.stdout.buffer, msgspec.json.encode(answer))
    finally:
        worker.close()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
