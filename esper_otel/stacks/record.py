"""Stacks that the relay recorded, one file for each rank in the run's directory; the newest replaces the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.manifest import replace_file
from esper_otel.log.opening import read_whole
from esper_otel.stacks.dump import Thread

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_FRAMES: Final = 200
"""Frames of a thread that are kept: an endless recursion has a thousand."""


class Recorded(msgspec.Struct, frozen=True):
    """Stacks of one rank at one moment.

    Attributes:
        rank: the rank.
        pid: its process.
        host: where it runs.
        taken_ns: Unix time in ns.
        phase: phase of the step that the main thread was in; None where its frames do not say.
        threads: the stacks, the main thread first.
    """

    rank: int
    pid: int
    host: str
    taken_ns: int
    phase: str | None
    threads: list[Thread]


def path_of(directory: Path, rank: int) -> Path:
    """The file of ``rank`` in the run's ``directory``."""
    return directory / f"stacks.rank{rank}.json"


def save(directory: Path, recorded: Recorded) -> None:
    """Write the file of a rank.

    Raises:
        OSError: it cannot be written.
    """
    threads = [msgspec.structs.replace(each, frames=each.frames[:MAX_FRAMES]) for each in recorded.threads]
    content = msgspec.json.encode(msgspec.structs.replace(recorded, threads=threads))
    replace_file(path_of(directory, recorded.rank), msgspec.json.format(content, indent=1).decode() + "\n")


def load(directory: Path, rank: int) -> Recorded | None:
    """The recorded stacks of ``rank``; None if there are none that can be read."""
    try:
        return msgspec.json.decode(read_whole(path_of(directory, rank), MAX_BYTES), type=Recorded)
    except (OSError, ValueError, RecursionError):
        return None
