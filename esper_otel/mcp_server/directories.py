"""Discovery of runs in the directories given to the server. Nothing outside of them is ever named to a client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from esper_otel.log.layout import RUN_FILE
from esper_otel.log.salvage import valid_text
from esper_otel.runs.places import MANIFEST, PARQUET, has_begun, is_one_run, run_of

_LOGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def runs_in(directories: Sequence[Path], *, with_events: bool = True) -> dict[str, Path]:
    """The runs by their ``run_id`` in the views, newest first.

    ``with_events=False`` adds those that have begun and recorded none, which have no views.

    A directory is a telemetry directory, a run or one log file. Links that lead outside are skipped. If two
    runs share a name, the name of the parent directory is put before it.
    """
    found: dict[Path, str] = {}
    for root in directories:
        for path in _runs_at(root, is_one_run if with_events else has_begun):
            if _stays_in(path, root):
                found.setdefault(path.resolve(), _name(path))
    shared = {name for name in found.values() if list(found.values()).count(name) > 1}
    named = {f"{valid_text(path.parent.name)}/{name}" if name in shared else name: path for path, name in found.items()}
    return dict(sorted(named.items(), key=lambda item: (modified_s(item[1]), item[0]), reverse=True))


def files_of(path: Path) -> list[Path]:
    """Log files and Parquet files of a run."""
    if path.is_file():
        beside = path.with_name(f"{path.name.split('.jsonl')[0]}.{PARQUET}")
        return [path, *(beside.iterdir() if beside.is_dir() else ())]
    parquet = path / PARQUET
    return [
        file
        for file in [*path.iterdir(), *(parquet.iterdir() if parquet.is_dir() else ())]
        if file.name.endswith((*_LOGS, ".parquet", MANIFEST))
    ]


def modified_s(path: Path) -> float:
    """Unix time of the last write to a run; 0 if its files are gone or cannot be read."""
    times = []
    with suppress(OSError):
        for file in files_of(path):
            with suppress(OSError):
                times.append(file.stat().st_mtime)
    return max(times, default=0.0)


def _runs_at(root: Path, is_run: Callable[[Path], bool]) -> Iterator[Path]:
    if root.is_file() or is_run(root):
        yield root
        return
    for path in sorted(root.iterdir()):
        if _may_be(path, is_run) if path.is_dir() else path.name.endswith(_LOGS):
            yield path


def _may_be(path: Path, is_run: Callable[[Path], bool]) -> bool:
    """Return True for a run, and for a directory that cannot be read: its entry says so."""
    try:
        return is_run(path)
    except OSError:
        return True


def _stays_in(path: Path, root: Path) -> bool:
    inside = root.resolve() if root.is_dir() else root.resolve().parent
    try:
        files = files_of(path)
    except OSError:
        files = []
    real = (Path(os.path.realpath(each)) for each in (path, path / RUN_FILE, *files))  # takes links to themselves
    return all(each.is_relative_to(inside) for each in real)


def _name(path: Path) -> str:
    with suppress(OSError):
        for name in run_of(path).run_ids.values():
            return name
    return valid_text(path.resolve().name)
