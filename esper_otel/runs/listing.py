"""The list of runs: a look at each run, and the rows that are shown."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from esper_otel.archive.address import is_address
from esper_otel.log.layout import LATEST
from esper_otel.log.salvage import valid_text
from esper_otel.runs.entry import Known
from esper_otel.runs.index import MIN_RUNS, Index, without_collector
from esper_otel.runs.places import has_begun
from esper_otel.runs.reading import Entries, Trust, has_its_logs, is_in_place
from esper_otel.runs.rows import Row
from esper_otel.runs.stored import DamagedError, Noted

LOGS: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst")

WORTH_BYTES: Final = 1024 * 1024
"""Logs that were read for a list, from which on an index of fewer than twenty runs is kept as well."""

FEW: Final = 1000
"""An index is written anew when more than one entry in so many changed."""

Choose = Callable[[list[Row]], Sequence[Row]]
"""The rows that are shown, of all."""


def rows_in(directory: Path, tell: Callable[[str], object] = lambda _: None, *, keep: bool = True) -> Sequence[Row]:
    """The runs of ``directory``, in no order: a directory of runs, one run, one log file, or the address of an archive.

    Logs are only read.

    Args:
        directory: where they are.
        tell: called with a sentence for people about a ``run.json`` that cannot be read.
        keep: whether an index is kept, beside the runs or in the user's cache directory.

    Raises:
        OSError: the directory does not exist or cannot be listed.
    """
    return shown_in(directory, lambda rows: rows, tell, keep=keep)


def shown_in(
    directory: Path,
    choose: Choose,
    tell: Callable[[str], object] = lambda _: None,
    *,
    keep: bool = True,
    is_by_start: bool = False,
) -> Sequence[Row]:
    """The runs that ``choose`` returns of those of :func:`rows_in`.

    Of a run that ended long ago and is not among them the directory alone is looked at, not each log. Where the time of
    the start or the name alone decides, not even that, unless the directory of runs changed.

    Args:
        directory: where they are.
        choose: returns those that are shown; called once more if one of them is not what it was.
        tell: called with a sentence for people about a ``run.json`` that cannot be read.
        keep: whether an index is kept, beside the runs or in the user's cache directory.
        is_by_start: whether ``choose`` asks for nothing but starts and names.

    Raises:
        OSError: the directory does not exist or cannot be listed.
    """
    if is_address(directory):
        from esper_otel.runs.archived import ArchivedRuns  # of no use to a directory

        archived = ArchivedRuns(directory, tell)
        return choose([Row(name, address, Known.of(entry), archived) for name, address, entry in archived.runs])
    try:
        return _shown_in(directory, choose, tell, keep=keep, is_loaded=keep, is_by_start=is_by_start)
    except DamagedError:  # what is decoded when it is shown; without the index nothing is
        return _shown_in(directory, choose, tell, keep=keep, is_loaded=False, is_by_start=False)


def _shown_in(
    directory: Path, choose: Choose, tell: Callable[[str], object], *, keep: bool, is_loaded: bool, is_by_start: bool
) -> Sequence[Row]:
    if directory.is_file() or has_begun(directory):
        entries = Entries(Index(directory.parent, is_loaded=is_loaded), tell)
        row = _row(entries, directory.name, str(directory))
        return _decoded(choose([] if row is None else [row]))
    with without_collector():
        status = directory.stat()  # before all else: what changes from now on changes it once more
        place = Noted(status.st_ino, status.st_mtime_ns, time.time_ns())
        index = Index(directory, is_loaded=is_loaded)
        entries = Entries(index, tell)
        trust = Trust.RUNS if is_by_start and index.is_of(place) and _is_told(directory / LATEST) else Trust.LOGS
        names = _names(directory)
        base = os.path.join(directory, "")  # noqa: PTH118  # a Path costs more than what is asked of it
        found = [row for name in names if (row := _row(entries, name, base + name, trust)) is not None]
        shown = choose(found)
        if not all(map(_is_current, shown)):
            trust = Trust.NONE
            found = [row for each in found if (row := _looked_at(entries, each)) is not None]
            shown = choose(found)
        _decoded(shown)
        if keep:
            _keep(index, entries, names, place, trust)
    return shown


def _decoded(rows: Sequence[Row]) -> Sequence[Row]:
    """``rows``, whose entries are what was written.

    Raises:
        DamagedError: one is not.
    """
    for row in rows:
        _ = row.listed
    return rows


def _keep(index: Index, entries: Entries, names: Sequence[str], place: Noted, trust: Trust) -> None:
    """Write the index, unless few entries of many changed: they are read as quickly as all are written."""
    is_new = entries.read_bytes > WORTH_BYTES or entries.changed > len(names) // FEW or entries.over_changed
    if is_new or len(index.runs) > len(names):
        if len(names) >= MIN_RUNS or entries.read_bytes > WORTH_BYTES:
            index.save(names)
    elif trust is not Trust.RUNS:
        index.is_as(place)


def _is_current(row: Row) -> bool:
    known = row.known
    return known is None or not known.is_over or (is_in_place(known, row.path) and has_its_logs(known, row.path))


def _looked_at(entries: Entries, row: Row) -> Row | None:
    """``row``, once the logs were looked at as well."""
    return _row(entries, row.run, row.path) if row.known is not None and row.known.is_over else row


def _is_told(latest: Path) -> bool:
    """Return True if a session that begins or continues a run makes a link of that name."""
    return latest.is_symlink() or not latest.exists()


def _names(directory: Path) -> list[str]:
    """Entries that may be runs; links to runs and hidden files are left out."""
    with os.scandir(directory) as found:
        return [
            entry.name
            for entry in found
            if not entry.name.startswith(".")
            and (entry.is_dir(follow_symlinks=False) or (entry.name.endswith(LOGS) and not entry.is_symlink()))
        ]


def _row(entries: Entries, name: str, path: str, trust: Trust = Trust.NONE) -> Row | None:
    try:
        known = entries.of(name, path, trust)
        return None if known is None else Row(name, path, known, entries.index)
    except FileNotFoundError:  # removed a moment ago, or a directory of something else
        return None
    except (OSError, ValueError) as error:
        return Row(name, path, None, entries.index, valid_text(str(error)))
