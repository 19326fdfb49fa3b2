"""Turning a run's log into Parquet beside it. The log is only read."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from esper_otel.sql import parts
from esper_otel.sql.connect import MEMORY_LIMIT, open_database
from esper_otel.sql.runs import MANIFEST, run_of
from esper_otel.sql.stage import Stage
from esper_otel.sql.tables import TABLES, fingerprint


class Compacted(msgspec.Struct, frozen=True):
    """What a compaction did.

    Attributes:
        directory: where the Parquet files lie.
        lines: lines of the log that they hold, those of earlier compactions included.
        new_lines: lines that were added now.
        size_bytes: size of all the files.
    """

    directory: Path
    lines: int
    new_lines: int
    size_bytes: int


def compact(run: Path, output: Path | None = None, memory_limit: str = MEMORY_LIMIT) -> Compacted:
    """Write, or bring up to date, the Parquet files of ``run``.

    May be killed and run again at any time: finished files are kept and reading goes on behind them. Files of another
    contract are replaced.

    Args:
        run: run directory, log file or telemetry directory.
        output: where to; None for ``RUN/parquet``, or ``<name>.parquet`` beside a single file.
        memory_limit: DuckDB's own limit, for instance ``512MB``.

    Raises:
        FileNotFoundError: there is no log.
        FileExistsError: ``output`` holds other files.
        BlockingIOError: somebody else is at it.
        ValueError: the manifest there is damaged.
        OSError: a file cannot be read or written.
    """
    found = run_of(run)
    if found.path is None:
        raise FileNotFoundError(f"{run} holds Parquet files but no log to add")
    directory = output or found.parquet
    if output is not None and output.is_dir() and any(output.iterdir()) and not (output / MANIFEST).exists():
        raise FileExistsError(f"{output} holds other files; name a new directory")
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        manifest = _present(directory)
        parts.remove_leftovers(directory, manifest)
        before = manifest.lines
        scratch = (
            directory / ".scratch"
        )  # not in the system's temporary directory: the next run removes it after a kill
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            with open_database(scratch, memory_limit) as database:
                Stage(found, directory, manifest, frozenset(TABLES), database).bring_up_to_date(is_growing=True)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    size = sum(path.stat().st_size for paths in manifest.paths(directory).values() for path in paths)
    return Compacted(directory, manifest.lines, manifest.lines - before, size)


def _present(directory: Path) -> parts.Manifest:
    manifest = parts.load(directory)
    if manifest is None or manifest.fingerprint != fingerprint():
        (directory / MANIFEST).unlink(missing_ok=True)
        return parts.Manifest(fingerprint())
    return manifest


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    fd = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another process compacts into {directory}") from None
        yield
    finally:
        os.close(fd)
