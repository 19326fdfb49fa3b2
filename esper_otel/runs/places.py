"""Resolution of RUN arguments for SQL: logs, name, and directory of Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.layout import FINDINGS_FILE, Series, SingleFile, Source, has_log, has_log_or_lock, resolve
from esper_otel.log.salvage import valid_text

PARQUET: Final = "parquet"
MANIFEST: Final = "manifest.json"


class Run(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        path: path of its log; None if only its Parquet files exist.
        parquet: directory of its Parquet files, which need not exist.
        run_ids: name of the run by source, for lines that do not say it.
        run_dirs: name of the directory by source.
    """

    path: Path | None
    parquet: Path
    run_ids: dict[str, str]
    run_dirs: dict[str, str]


def runs_of(paths: Sequence[str | PathLike[str]]) -> list[Run]:
    """The runs of ``paths``, each once; equal names are prefixed with their directory's name.

    Raises:
        FileNotFoundError: there is nothing to read at one of them; the message lists the names tried.
    """
    found: dict[Path, Run] = {}
    for path in paths:
        run = run_of(Path(path))
        found.setdefault((run.path or run.parquet).resolve(), run)
    runs = list(found.values())
    names = Counter(name for run in runs for name in set(run.run_ids.values()))
    shared = {name for name, count in names.items() if count > 1}
    return [_told_apart(run, shared) if shared & set(run.run_ids.values()) else run for run in runs]


def runs_below(
    directories: Sequence[str | PathLike[str]], tell: Callable[[str], object] = lambda _: None
) -> list[Path]:
    """Every run that lies in one of ``directories``, for :func:`runs_of`; links to them are left out.

    ``tell`` is told which directories cannot be read, and are left out as well.

    Raises:
        FileNotFoundError: one of them holds no run.
        OSError: one of them cannot be listed.
    """
    found: list[Path] = []
    for directory in map(Path, directories):
        here = [path for path in sorted(directory.iterdir()) if not path.is_symlink() and _is_run(path, tell)]
        if not here:
            raise FileNotFoundError(f"no directory in {directory} holds a run")
        found += here
    return found


def _is_run(path: Path, tell: Callable[[str], object]) -> bool:
    try:
        return path.is_dir() and (_has_log(path) or (path / PARQUET / MANIFEST).is_file())
    except OSError as error:
        tell(f"{path} is left out: {error.strerror}")
        return False


def is_one_run(path: Path) -> bool:
    """Return True if the directory is one run rather than a directory of runs."""
    return _is_one(path, has_log)


def has_begun(directory: Path) -> bool:
    """Return True if the directory is one run, also one that has recorded no event: then a rank's lock is there."""
    return _is_one(directory, has_log_or_lock)


def _is_one(path: Path, has_files: Callable[[Path], bool]) -> bool:
    if (path / MANIFEST).is_file() or (path / PARQUET / MANIFEST).is_file():
        return True
    try:
        return has_files(path)
    except (FileNotFoundError, NotADirectoryError):
        return False


def run_of(path: Path) -> Run:
    """The run at ``path``.

    Raises:
        FileNotFoundError: there is nothing to read.
    """
    if (path / MANIFEST).is_file():
        beside = path.parent if path.name == PARQUET else None
        if beside is None or not _has_log(beside):
            return Run(None, path, {}, {})
        path = beside
    try:
        sources = resolve(path)
    except FileNotFoundError:
        if (path / PARQUET / MANIFEST).is_file():
            return Run(None, path / PARQUET, {}, {})
        raise
    directories = {source.name: _directory(source) for source in sources}
    return Run(
        _to_open(path, sources),
        _parquet(path, sources),
        {source.name: _name(source) for source in sources},
        {name: valid_text(directory.name) for name, directory in directories.items()},
    )


def _has_log(directory: Path) -> bool:
    try:
        return bool(resolve(directory))
    except FileNotFoundError:
        return False


def _to_open(path: Path, sources: list[Source]) -> Path:
    """Resolve links: ``latest`` may point elsewhere tomorrow."""
    first = sources[0]
    return first.directory if isinstance(first, Series) else path


def _parquet(path: Path, sources: list[Source]) -> Path:
    first = sources[0]
    if isinstance(first, Series):
        return first.directory / PARQUET
    return path / PARQUET if path.is_dir() else path.with_name(f"{_stem(path)}.{PARQUET}")


def _directory(source: Source) -> Path:
    if isinstance(source, Series):
        return source.directory
    assert isinstance(source, SingleFile)
    return source.path.resolve().parent


def _name(source: Source) -> str:
    is_of_directory = isinstance(source, Series) or source.name == FINDINGS_FILE
    stem = "events" if is_of_directory else _stem(source.path)  # type: ignore[attr-defined]  # a file
    return valid_text(_directory(source).name if stem == "events" else stem)


def _stem(path: Path) -> str:
    return path.name.split(".jsonl")[0]


def _told_apart(run: Run, shared: set[str]) -> Run:
    assert run.path is not None
    above = run.path.resolve().parent.name
    names = {source: f"{above}/{name}" if name in shared else name for source, name in run.run_ids.items()}
    return msgspec.structs.replace(run, run_ids=names)
