"""Dumps of PyTorch's Flight Recorder, one file for each rank, as pickles of its C++ code or as JSON.

PyTorch writes them when a collective takes longer than its timeout, to ``$TORCH_FR_DUMP_TEMP_FILE<rank>`` (older
versions: ``$TORCH_NCCL_DEBUG_INFO_TEMP_FILE<rank>``); ``torch._C._distributed_c10d._dump_fr_trace()`` makes one at any
time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.collectives.pickled import plain_of
from esper_otel.log.opening import read_whole

FOLDER: Final = "flight_recorder"
_NAME: Final = re.compile(
    r"(?:nccl_trace_rank_|comm_lib_trace_rank_|fr_trace_rank_|rank_?)(\d{1,6})(?:\.json|\.pickle|\.pkl)?"
)
_NAME_IN_RUN: Final = re.compile(r"(?:nccl|comm_lib|fr)_trace_rank_\d.*")

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_FILES: Final = 1024


class Frame(msgspec.Struct, frozen=True):
    """One frame of the call that made a collective."""

    name: str = ""
    filename: str = ""
    line: int = 0

    @property
    def text(self) -> str:
        """For people, as in a recorded stack: ``step (train.py:12)``."""
        return f"{self.name} ({self.filename}:{self.line})"


class Entry(msgspec.Struct, frozen=True):
    """One collective of a rank, by the names that PyTorch gives its fields."""

    collective_seq_id: int = 0
    is_p2p: bool = False
    process_group: tuple[str, str] = ("", "")
    profiling_name: str = ""
    input_sizes: list[list[int]] = []
    input_dtypes: list[str] = []
    state: str = ""
    time_created_ns: int = 0
    frames: list[Frame] = []

    @property
    def name(self) -> str:
        """Its operation, without the backend: ``all_reduce``."""
        return self.profiling_name.partition(":")[2] or self.profiling_name


class _Group(msgspec.Struct, frozen=True):
    ranks: str | list[int] = ""


class _Content(msgspec.Struct, frozen=True):
    entries: list[Entry] = []
    pg_config: dict[str, _Group] = {}


class Dump(msgspec.Struct, frozen=True):
    """The dump of one rank.

    Attributes:
        rank: the rank, from the name of the file.
        written_ns: when the file was written, Unix time in ns.
        entries: its collectives, oldest first.
        members: ranks of each process group that it knows, by the name of the group.
    """

    rank: int
    written_ns: int
    entries: list[Entry]
    members: dict[str, frozenset[int]]


def dumps_in(directory: Path, since_ns: int = 0) -> tuple[list[Dump], dict[str, str]]:
    """The newest dump of each rank in a run's directory, and by the name of a file why it cannot be read.

    ``since_ns``: files that are older belong to an earlier session.
    """
    found: dict[int, Dump] = {}
    refused: dict[str, str] = {}
    for path, rank in _files(directory):
        try:
            status = path.stat()
            if status.st_mtime_ns < since_ns or (rank in found and found[rank].written_ns >= status.st_mtime_ns):
                continue
            entries, members = _read(path, status.st_size, status.st_mtime_ns)
        except (OSError, ValueError, RecursionError) as error:
            refused[path.name] = str(error)
        else:
            found[rank] = Dump(rank, status.st_mtime_ns, entries, members)
    return [found[rank] for rank in sorted(found)], refused


def _files(directory: Path) -> Iterator[tuple[Path, int]]:
    here = [path for path in _listed(directory) if _NAME_IN_RUN.fullmatch(path.name)]
    for path in [*here, *_listed(directory / FOLDER)][:MAX_FILES]:
        if (matched := _NAME.fullmatch(path.name)) is not None:
            yield path, int(matched[1])


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


@lru_cache(maxsize=64)  # a run that goes on is asked every few seconds
def _read(path: Path, size: int, written_ns: int) -> tuple[list[Entry], dict[str, frozenset[int]]]:
    """Content of a file that has this size and time.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no dump.
    """
    data = read_whole(path, MAX_BYTES)
    if data.lstrip()[:1] == b"{":
        content = msgspec.json.decode(data, type=_Content)
    else:
        content = msgspec.convert(plain_of(data), type=_Content)
    return content.entries, {name: _ranks(group.ranks) for name, group in content.pg_config.items()}


def _ranks(given: str | list[int]) -> frozenset[int]:
    found: Any = re.findall(r"\d+", given) if isinstance(given, str) else given
    return frozenset(map(int, found))
