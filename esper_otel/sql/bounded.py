"""Memory limit for a query of somebody else.

DuckDB counts what its operators buffer, and spills that, but not every value that a function makes: one
``repeat('a', 4000000000)`` takes 4 GB whatever its limit. So the operating system limits the process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from esper_otel.sql.select import QueryError

HEADROOM_BYTES: Final = 512 * 1024 * 1024
"""Beside DuckDB's limit: its threads' stacks, and the rows of the answer as Python's objects."""


@contextmanager
def bounded_memory(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Context in which this process gets the memory that ``connection`` may use and 512 MiB, beyond its current use.

    For processes of our own, not for a caller's notebook. Does nothing where the system has no such limit (only Linux
    has).

    Raises:
        QueryError: Python could not get the memory for the answer. DuckDB says it itself, by a ``duckdb.Error``.
    """
    taken = _data_bytes()
    if taken is None:
        yield
        return
    import resource  # not on Windows

    [(limit,)] = connection.execute("SELECT parse_formatted_bytes(current_setting('memory_limit'))").fetchall()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    ours = taken + limit + HEADROOM_BYTES
    soft = ours if before[0] == resource.RLIM_INFINITY else min(ours, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    except MemoryError:
        raise QueryError("Out of Memory Error: the answer does not fit") from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int | None:
    """Memory that counts against the limit now; None if unknown."""
    if sys.platform != "linux":
        return None
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmData:")]
    return int(found[0]) * 1024 if found else None
