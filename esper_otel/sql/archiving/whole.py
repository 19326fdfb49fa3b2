"""Archiving of a run at once: ``esper-otel compact --to``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec

from esper_otel.archive.address import Address
from esper_otel.log.reading.standing import is_held
from esper_otel.runs.places import run_of
from esper_otel.sql.archiving.archiver import Archiver, name_of
from esper_otel.sql.connect import MEMORY_LIMIT, open_database
from esper_otel.sql.staging.stage import PARALLEL_BYTES
from esper_otel.sql.staging.workers import available_processes


class Archived(msgspec.Struct, frozen=True):
    """Result: the run in its archive, and what was added now.

    Attributes:
        address: the run in the archive.
        segments: segments that were added or replaced.
        lines: their lines.
        size_bytes: size of their Parquet files.
    """

    address: Address
    segments: int
    lines: int
    size_bytes: int


def archive(run: Path, to: Address, memory_limit: str = MEMORY_LIMIT) -> Archived:
    """Add to an archive what it does not have of ``run`` yet. May be killed and run again at any time.

    Args:
        run: run directory, log file or telemetry directory.
        to: the archive, or with a name of the run in it; without one it gets that of its directory or file.
        memory_limit: DuckDB's own limit, for instance ``512MB``.

    Raises:
        FileNotFoundError: there is no log.
        ValueError: the archive holds another run of this name.
        ArchiveError: the archive cannot be read or written.
        OSError: the log cannot be read, or the disk is full.
    """
    found = run_of(run)
    if found.path is None:
        raise FileNotFoundError(f"{run} contains Parquet files but no log to archive")
    address = to if to.run else to.of(name_of(found))
    scratch = Path(tempfile.mkdtemp(prefix="esper-otel-archive-"))
    segments = lines = size = 0
    try:
        (scratch / "files").mkdir()
        with open_database(scratch, memory_limit) as database:
            processes = available_processes() if _size_of(found.path) > PARALLEL_BYTES else 0
            archiver = Archiver(found, address, scratch / "files", database, processes=processes)
            is_over = not is_held(found.path if found.path.is_dir() else None)
            while (done := archiver.step(tail=True, is_over=is_over)) is not None:
                segments, lines = segments + done.segments, lines + done.lines
                size += done.size_bytes
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Archived(address, segments, lines, size)


def _size_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.glob("*.jsonl*"))
