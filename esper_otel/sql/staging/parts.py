"""A directory of Parquet files and the manifest that lists the valid ones.

The manifest is replaced atomically after its files are complete, together with the position in the log up to which
they hold it. What a killed process left behind is not in the manifest, so it is never read and is removed later.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log.duplicates import DuplicatesState
from esper_otel.log.manifest import replace_file
from esper_otel.log.opening import read_whole
from esper_otel.log.reading.follower import Position
from esper_otel.runs.places import MANIFEST

MAX_BYTES: Final = 256 * 1024 * 1024
"""A manifest has some 100 bytes for each 200,000 lines of a run, and the sizes of its logs."""

_FILE: Final = re.compile(r"[a-z0-9_]+\.\d{6,18}\.parquet")
"""A name in the directory itself: nobody's manifest leads to files elsewhere."""


class Manifest(msgspec.Struct):
    """Contents of a directory of Parquet files.

    Attributes:
        fingerprint: of the columns that it was written with.
        files: names of the files by table.
        positions: where reading resumes, by source.
        duplicates: the last events read, to recognise repetitions.
        arms: which arm of an A/B run was trained last, by source.
        lines: lines read.
        lost: stretches that gave no event, by reason.
        signature: names, sizes and times of the logs when they were read to their end; empty before that.
    """

    fingerprint: str
    files: dict[str, list[str]] = {}
    positions: dict[str, Any] = {}
    duplicates: DuplicatesState | None = None
    arms: dict[str, str] = {}
    lines: int = 0
    lost: dict[str, int] = {}
    signature: str = ""

    def next_number(self) -> int:
        """The number of the next part, from 1."""
        numbers = [int(name.split(".")[-2]) for names in self.files.values() for name in names]
        return max(numbers, default=0) + 1

    def paths(self, directory: Path) -> dict[str, list[Path]]:
        """The files by table."""
        return {table: [directory / name for name in names] for table, names in self.files.items()}

    def typed_positions(self) -> dict[str, Position]:
        """The positions as a reader takes them."""
        return dict(self.positions)


def load(directory: Path) -> Manifest | None:
    """The manifest of ``directory``; None if there is none.

    Raises:
        ValueError: it is not one; the message names the file.
    """
    path = directory / MANIFEST
    try:
        manifest = msgspec.json.decode(read_whole(path, MAX_BYTES), type=Manifest)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"{path} is not a manifest of 'esper-otel compact': {error}; remove its directory") from error
    for name in (name for names in manifest.files.values() for name in names):
        if not _FILE.fullmatch(name):
            raise ValueError(f"{path} names the file {name!r}, which 'esper-otel compact' never writes")
    return manifest


def save(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest`` to the directory, which makes it the valid one.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(directory / MANIFEST, msgspec.json.encode(manifest).decode() + "\n")


def remove_leftovers(directory: Path, manifest: Manifest) -> None:
    """Remove Parquet files and rows that the manifest does not name."""
    kept = {name for names in manifest.files.values() for name in names}
    for path in directory.iterdir():
        if path.suffix in {".parquet", ".rows"} and path.name not in kept:
            path.unlink(missing_ok=True)
