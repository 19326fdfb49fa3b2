"""Entries of the index: what is known of one run."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.layout import FINDINGS_FILE
from esper_otel.runs.summary import Summary

NO_TYPES: Final = -1

QUIET_NS: Final = 60 * 10**9
"""Age of the last line of a run that ended from which on no more are expected: threads and relay have ended too."""


class Place(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The directory of a run when its entry was made.

    Attributes:
        inode: its number, which a renamed directory takes along.
        modified_ns: its time.
        noted_ns: when it was looked at.
    """

    inode: int
    modified_ns: int
    noted_ns: int


class Told(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Content of ``run.json``.

    Attributes:
        status: its word for the state.
        world_size: number of ranks of the newest session.
        rest: tags, notes, host, commit, command, encoded.
        problem: why it cannot be read, else empty.
    """

    status: str
    world_size: int | None
    rest: msgspec.Raw
    problem: str = ""


class Listed(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The part of an entry that the list of runs needs.

    Attributes:
        place: the directory.
        summary: what its log says.
        told: what its ``run.json`` says.
        locks: ranks with a lock's file.
        progress: what reading on needs, encoded.
    """

    place: Place
    summary: Summary
    told: Told
    locks: tuple[int, ...]
    progress: msgspec.Raw


class Entry(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One run.

    Attributes:
        signature: of the logs when they were read.
        run_ids: which runs its lines name.
        types: number of its set of event types; :data:`NO_TYPES` where they are too many to keep.
        first_us: earliest time of an event, Unix time in microseconds.
        last_us: latest time of an event.
        lost: stretches that gave no event, by reason.
        is_whole: whether all of the logs was read, so that a query may conclude something from it.
        listed: what the list needs; None while only queries have read it.
    """

    signature: str
    run_ids: tuple[str, ...]
    types: int
    first_us: int | None
    last_us: int | None
    lost: dict[str, int]
    is_whole: bool
    listed: Listed | None


class Known(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The part of a run that a list asks for: enough to tell that its entry is true, which is read when it is shown.

    Attributes:
        signature: of the logs when they were read.
        inode: number of its directory; 0 while only queries have read it.
        modified_ns: time of its directory.
        noted_ns: when it was looked at; 0 if that has to be done again.
        settles_ns: from when on it may be looked at as one that is over; 0 while log and ``run.json`` do not say so.
        is_over: whether it was when it was looked at: whoever continues it changes its directory.
        started_us: time of its first line, Unix time in microseconds.
    """

    signature: str
    inode: int
    modified_ns: int
    noted_ns: int
    settles_ns: int
    is_over: bool
    started_us: int | None

    @classmethod
    def of(cls, entry: Entry) -> Known:
        """The run whose entry this is."""
        listed = entry.listed
        if listed is None:
            return cls(entry.signature, 0, 0, 0, 0, False, None)
        place, settles_ns = listed.place, _settles_ns(entry.signature, listed)
        noted_ns = 0 if listed.told.problem else place.noted_ns
        is_over = 0 < settles_ns <= noted_ns
        started_us = listed.summary.first_us
        return cls(entry.signature, place.inode, place.modified_ns, noted_ns, settles_ns, is_over, started_us)


def _settles_ns(signature: str, listed: Listed) -> int:
    """Time when a run that ended has been quiet for long enough; 0 if it goes on, or the relay may add findings."""
    has_ended = listed.summary.outcome and listed.told.status in RUN_OUTCOMES and not listed.told.problem
    logs = [part.split(":") for part in signature.split(" ")]
    if not has_ended or any(len(stamp) != 3 or stamp[0] == FINDINGS_FILE for stamp in logs):
        return 0
    return max(int(modified_ns) for _, _, modified_ns in logs) + QUIET_NS
