"""Contents of one line of an event log, whatever its producer: the unit that readers pass on.

A :class:`Record` is the envelope of an event with its payload still encoded, so that a reader pays for decoding only
the payloads that it wants. A line that holds no event is a :class:`BadLine`, never an exception: a log may have been
cut by a power loss or written by anyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from esper_otel.events.declare import Event


class Reason(StrEnum):
    """Reason why a stretch of a log gave no record.

    MALFORMED: not a JSON object with an event type and a time. TORN: ends without a newline where nothing more will
    come. TOO_LONG: longer than the reader's limit. TRUNCATED: the file became shorter than what was read of it.
    MISSING: segments that the position refers to are gone. UNREADABLE: the file cannot be opened or decompressed.
    """

    MALFORMED = "malformed"
    TORN = "torn"
    TOO_LONG = "too_long"
    TRUNCATED = "truncated"
    MISSING = "missing"
    UNREADABLE = "unreadable"


class Record(msgspec.Struct, frozen=True, gc=False):
    """The envelope of one event.

    Attributes:
        event_id: identity of the event; two lines that share it describe one event.
        event_type: name in the log.
        timestamp_ns: Unix time in ns, UTC.
        group_id: A/B group; ``default`` when the line has none.
        rank: rank of the process that emitted it; 0 when the line does not say.
        run_id: run that it belongs to; None in logs that do not say.
        seq: position in the rank's own series of events, counted from 1, from the time of day in µs where a run was
            continued; None in logs that do not count.
        epoch: the envelope's epoch, whose meaning depends on the event type.
        seed_id: seed that it concerns.
        slot_id: slot that it concerns.
        message: text for people, may be empty.
        severity: lower-case name of the severity.
        schema_version: version of the contract that it was written under; None in logs of other producers.
        data: the payload as JSON, empty when there is none or when it was decoded.
        event: the payload decoded, where a reader was to decode and the line is one of ours with nothing odd about it.
        nonfinite: the line holds NaN or an infinity (a text that says so counts too).
        source: name of the log that it came from, relative to the run.
        offset: byte offset of the end of its line in the uncompressed segment.
        segment: number of that segment, from 1.
    """

    event_id: str
    event_type: str
    timestamp_ns: int
    group_id: str = "default"
    rank: int = 0
    run_id: str | None = None
    seq: int | None = None
    epoch: int | None = None
    seed_id: str | None = None
    slot_id: str | None = None
    message: str = ""
    severity: str = "info"
    schema_version: int | None = None
    data: bytes = b""
    nonfinite: bool = False
    source: str = ""
    offset: int = 0
    segment: int = 1
    event: Event | None = None


class BadLine(msgspec.Struct, frozen=True):
    """A stretch of a log without an event.

    Attributes:
        source: name of the log that it came from, relative to the run.
        offset: byte offset of its end in the uncompressed segment.
        segment: number of that segment, from 1.
        reason: why it gave no record.
        excerpt: its first characters, for people.
    """

    source: str
    offset: int
    segment: int
    reason: Reason
    excerpt: str = ""


def told_losses(counts: Mapping[str, int]) -> str:
    """Summary of the parts of a log without events, by reason, for people; empty if there are none."""
    if not counts:
        return ""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
    total = sum(counts.values())
    stretches = "1 stretch" if total == 1 else f"{total:,} stretches"
    return f"{stretches} of the log gave no event ({reasons}); the rest was read"
