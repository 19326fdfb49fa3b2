"""Files of NCCL Inspector: JSON lines with the time of each collective, as its plugin writes them into a folder.

``NCCL_INSPECTOR_DUMP_DIR=RUN/nccl-inspector`` puts them there, one file for each process. Up to format 4.2 each line
has the communicator's header, from 4.3 on only the first line of a dump has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.opening import open_to_read

FOLDERS: Final = "nccl[-_]inspector*"
TAIL_BYTES: Final = 8 * 1024 * 1024
"""End of a file that is read: it grows by some hundred bytes with each collective."""

MAX_FILES: Final = 1024
LEAST: Final = 30
"""Fewer collectives are too few to call a rank late."""


class _Header(msgspec.Struct, frozen=True):
    id: str
    rank: int
    n_ranks: int


class _Metadata(msgspec.Struct, frozen=True):
    dump_timestamp_us: int = 0


class _Performance(msgspec.Struct, frozen=True):
    coll_sn: int
    coll_exec_time_us: float


class _Line(msgspec.Struct, frozen=True):
    header: _Header | None = None
    metadata: _Metadata | None = None
    coll_perf: _Performance | None = None


class Late(msgspec.Struct, frozen=True):
    """The rank that the others wait for in their collectives.

    Attributes:
        rank: the rank in the largest communicator.
        collectives: number of them that every rank has.
        lag_s: how much later than the next one it enters each, s.
        share: that time over the rest of the time.
    """

    rank: int
    collectives: int
    lag_s: float
    share: float


class _Member:
    """One rank of a communicator: time of its collectives by number, and when they were written."""

    def __init__(self) -> None:
        self.first_us = self.last_us = 0
        self.times_us: dict[int, float] = {}

    def add(self, moment_us: int, found: _Performance) -> None:
        """Take one collective; when those of the first dump happened is not known."""
        self.first_us = self.first_us or moment_us
        self.last_us = max(self.last_us, moment_us)
        if moment_us > self.first_us:
            self.times_us[found.coll_sn] = found.coll_exec_time_us


def latest(directory: Path) -> Late | None:
    """The rank that waits least in the collectives of the largest communicator; None where that cannot be told."""
    members = _largest(directory)
    if len(members) < 2:
        return None
    common = set.intersection(*(set(member.times_us) for member in members.values()))
    span_us = max(each.last_us for each in members.values()) - min(each.first_us for each in members.values())
    if len(common) < LEAST or span_us <= 0:
        return None
    totals = {rank: sum(member.times_us[number] for number in common) for rank, member in members.items()}
    rank = min(totals, key=totals.__getitem__)
    waited_us = min(total for other, total in totals.items() if other != rank) - totals[rank]
    rest_us = max(span_us - waited_us, 1)
    return Late(rank, len(common), waited_us / len(common) / 1e6, waited_us / rest_us)


def _largest(directory: Path) -> dict[int, _Member]:
    """Members of the largest communicator, each with a file; a smaller one has numbers of its own for ranks."""
    found: dict[tuple[int, str], dict[int, _Member]] = {}
    for path in sorted(directory.glob(f"{FOLDERS}/*.log"))[:MAX_FILES]:
        for header, moment_us, performance in _collectives(path):
            members = found.setdefault((header.n_ranks, header.id), {})
            members.setdefault(header.rank, _Member()).add(moment_us, performance)
    whole = {key: members for key, members in found.items() if len(members) == key[0]}
    return whole[max(whole)] if whole else {}


def _collectives(path: Path) -> Iterator[tuple[_Header, int, _Performance]]:
    header, moment_us = None, 0
    for text in _tail(path):
        try:
            line = _DECODER.decode(text)
        except (ValueError, RecursionError):  # cut at either end, or something else
            continue
        header = line.header or header
        moment_us = line.metadata.dump_timestamp_us if line.metadata is not None else moment_us
        if header is not None and line.coll_perf is not None:
            yield header, moment_us, line.coll_perf


def _tail(path: Path) -> list[bytes]:
    try:
        with open_to_read(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read(TAIL_BYTES).splitlines()
    except OSError:
        return []


_DECODER: Final = msgspec.json.Decoder(_Line)
