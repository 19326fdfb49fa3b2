"""Which runs lie in the directories that the server was given. Nothing outside of them is ever named to a reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from esper_otel.log.layout import RUN_FILE, Series, resolve
from esper_otel.sql.runs import MANIFEST, PARQUET, run_of

_LOGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def runs_in(directories: Sequence[Path]) -> dict[str, Path]:
    """The runs by the name that the views' ``run_id`` has for them, the newest first.

    A directory is a telemetry directory, a run or one log file. What reaches outside by a link is left out. Where two
    runs share a name, the name of the directory above stands before it.
    """
    found: dict[Path, str] = {}
    for root in directories:
        for path in _runs_at(root):
            if _stays_in(path, root):
                found.setdefault(path.resolve(), _name(path))
    shared = {name for name in found.values() if list(found.values()).count(name) > 1}
    named = {f"{path.parent.name}/{name}" if name in shared else name: path for path, name in found.items()}
    return dict(sorted(named.items(), key=lambda item: (modified_s(item[1]), item[0]), reverse=True))


def files_of(path: Path) -> list[Path]:
    """The log files and Parquet files of a run."""
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
    """When a run was last written to, Unix time; 0 when its files are gone."""
    times = []
    for file in files_of(path):
        try:
            times.append(file.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=0.0)


def _runs_at(root: Path) -> Iterator[Path]:
    if root.is_file() or _is_run(root):
        yield root
        return
    for path in sorted(root.iterdir()):
        if _is_run(path) if path.is_dir() else path.name.endswith(_LOGS):
            yield path


def _is_run(path: Path) -> bool:
    """Whether the directory itself is one run, and not a directory of runs."""
    if (path / MANIFEST).is_file() or (path / PARQUET / MANIFEST).is_file():
        return True
    try:
        first = resolve(path)[0]
    except FileNotFoundError:
        return False
    return isinstance(first, Series) and first.directory == path.resolve()


def _stays_in(path: Path, root: Path) -> bool:
    inside = root.resolve() if root.is_dir() else root.resolve().parent
    return all(each.resolve().is_relative_to(inside) for each in (path, path / RUN_FILE, *files_of(path)))


def _name(path: Path) -> str:
    names = run_of(path).run_ids.values()
    return next(iter(names), path.resolve().name)
