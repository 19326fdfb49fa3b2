"""The index of a directory of runs: what is known of each, so that a query opens only the runs that it is about.

A file beside the runs, replaced as a whole. An entry counts only as long as names, sizes and times of its run's logs
are what they were; whatever is missing, outdated or damaged is read and written anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.listing import names_in
from esper_otel.log.manifest import replace_file
from esper_otel.log.opening import read_whole
from esper_otel.sql.staging.facts import Facts

NAME: Final = ".sql_index.json"
VERSION: Final = 1
MAX_BYTES: Final = 256 * 1024 * 1024

MIN_RUNS: Final = 20
"""Runs of one directory that are asked together before an index of them is kept: few are read as quickly."""


class _Content(msgspec.Struct):
    version: int
    runs: dict[str, Facts]


class RunIndex:
    """The indexes of all directories that some runs lie in."""

    def __init__(self, directories: Iterable[Path]) -> None:
        """Keep an index for those of ``directories``, the runs' own ones, that lie beside many others."""
        beside: dict[Path, int] = {}
        for directory in directories:
            beside[directory.parent] = beside.get(directory.parent, 0) + 1
        self._known = {parent: _load(parent) for parent, count in beside.items() if count >= MIN_RUNS}
        self._changed: set[Path] = set()

    def facts(self, directory: Path, signature: str) -> Facts | None:
        """Facts about the run in ``directory``; None when its logs no longer match ``signature``."""
        found = self._known.get(directory.parent, {}).get(directory.name)
        return found if found is not None and found.signature == signature else None

    def note(self, directory: Path, facts: Facts) -> None:
        """Remember ``facts`` of the run in ``directory``."""
        if directory.parent in self._known:
            self._known[directory.parent][directory.name] = facts
            self._changed.add(directory.parent)

    def save(self) -> None:
        """Write what is new. A directory that cannot be written is left as it is."""
        for parent in self._changed:
            with contextlib.suppress(OSError):
                _save(parent, self._known[parent])
        self._changed.clear()


def _load(parent: Path) -> dict[str, Facts]:
    try:
        content = msgspec.json.decode(read_whole(parent / NAME, MAX_BYTES), type=_Content)
    except (OSError, ValueError, RecursionError):
        return {}
    return content.runs if content.version == VERSION else {}


def _save(parent: Path, runs: Mapping[str, Facts]) -> None:
    present = set(names_in(parent))
    content = _Content(VERSION, {name: facts for name, facts in runs.items() if name in present})
    replace_file(parent / NAME, msgspec.json.encode(content).decode() + "\n")
