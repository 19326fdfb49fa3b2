"""Conversion of a run's log to Parquet beside it. The log is only read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from esper_otel.log.locks.lock import FileLock, LockHeldError
from esper_otel.log.salvage import valid_text
from esper_otel.runs.places import MANIFEST, run_of
from esper_otel.sql.connect import MEMORY_LIMIT, open_database
from esper_otel.sql.staging import parts
from esper_otel.sql.staging.stage import Stage
from esper_otel.sql.views.tables import fingerprint


class Compacted(msgspec.Struct, frozen=True):
    """Result of a compaction.

    Attributes:
        directory: directory of the Parquet files.
        lines: lines of the log that they hold, those of earlier compactions included.
        new_lines: lines that were added now.
        size_bytes: size of all the files.
    """

    directory: Path
    lines: int
    new_lines: int
    size_bytes: int
    lost: dict[str, int]


def compact(run: Path, output: Path | None = None, memory_limit: str = MEMORY_LIMIT) -> Compacted:
    """Write or update the Parquet files of ``run``.

    May be killed and run again at any time: finished files are kept and reading resumes after them. Files of another
    contract are replaced.

    Args:
        run: run directory, log file or telemetry directory.
        output: output directory; None for ``RUN/parquet``, or ``<name>.parquet`` beside a single file.
        memory_limit: DuckDB's own limit, for instance ``512MB``.

    Raises:
        FileNotFoundError: there is no log.
        FileExistsError: ``output`` contains other files.
        BlockingIOError: another process is compacting.
        ValueError: the manifest there is damaged, or the directory's name is not valid UTF-8.
        OSError: a file cannot be read or written.
    """
    found = run_of(run)
    if found.path is None:
        raise FileNotFoundError(f"{run} contains Parquet files but no log to add")
    directory = output or found.parquet
    if valid_text(str(directory)) != str(directory):
        raise ValueError(f"{directory} is not valid UTF-8, which DuckDB needs; choose another directory by -o")
    if output is not None and output.is_dir() and any(output.iterdir()) and not (output / MANIFEST).exists():
        raise FileExistsError(f"{output} contains other files; choose a new directory")
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
                Stage(found, directory, manifest, database).bring_up_to_date()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    size = sum(path.stat().st_size for paths in manifest.paths(directory).values() for path in paths)
    return Compacted(directory, manifest.lines, manifest.lines - before, size, manifest.lost)


def _present(directory: Path) -> parts.Manifest:
    manifest = parts.load(directory)
    if manifest is None or manifest.fingerprint != fingerprint():
        (directory / MANIFEST).unlink(missing_ok=True)
        return parts.Manifest(fingerprint())
    return manifest


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    lock = FileLock(directory / ".lock")
    try:
        lock.acquire()
    except LockHeldError:
        raise BlockingIOError(f"another process compacts into {directory}") from None
    try:
        yield
    finally:
        lock.release()
