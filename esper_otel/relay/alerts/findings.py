"""The findings of a run in its log: ``findings.jsonl`` beside the segments, which the relay alone writes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.events import FindingReported
from esper_otel.log.encode import SCHEMA_VERSION
from esper_otel.log.layout import FINDINGS_FILE, SingleFile
from esper_otel.log.opening import open_to_change
from esper_otel.log.reading.follower import Follower
from esper_otel.relay.alerts.evaluator import Told
from esper_otel.relay.console import say_once
from esper_otel.relay.ingest import Ingest

NO_REASON_TO_STOP: Final = frozenset({"run_stalled", "run_died", "run_failed", "run_interrupted"})
"""Critical kinds that a process that asks has got over, or that its own end is."""


_DETAILS: Final = frozenset({"phase", "pid", "layer"})
"""Of who a finding is about: what may change while it is the same finding."""


def about(who: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Subject of a finding, by which two findings are told apart."""
    return tuple(sorted((name, value) for name, value in (who or {}).items() if name not in _DETAILS))


class Reported(msgspec.Struct, frozen=True):
    """A finding in the log.

    Attributes:
        event_id: identity of its line.
        at: when it was found, Unix time, s.
        event: the finding.
    """

    event_id: str
    at: float
    event: FindingReported


def event_of(told: Told, session: str) -> FindingReported:
    """The event of a finding."""
    return FindingReported(
        kind=told.kind,
        grade=told.severity,
        sentence=told.sentence,
        alert=told.alert or None,
        confidence=told.confidence,
        who=told.who or None,
        occurred=told.when or None,
        evidence=told.evidence or None,
        cause=told.cause or None,
        meaning=told.meaning,
        next_step=told.next_step,
        query=told.query or None,
        session=session or None,
        stops=told.severity == "critical" and told.kind not in NO_REASON_TO_STOP,
    )


class FindingsLog:
    """Reads and writes the findings of a run."""

    def __init__(self, directory: Path | None, run_id: str) -> None:
        """``directory``: the run's; None for a log that our writer did not make, to which nothing is added."""
        self._path = directory / FINDINGS_FILE if directory is not None else None
        self._run_id = run_id

    def read(self) -> list[Reported]:
        """Everything that was found so far; what cannot be read is left out."""
        if self._path is None or not self._path.exists():
            return []
        follower, ingest = (
            Follower(SingleFile(self._path, FINDINGS_FILE), None, follow=True),
            Ingest(tells_losses=False),
        )
        found = []
        while items := follower.read(1000):
            for item in items:
                line = ingest.take(item)
                if line.record is not None and line.events and isinstance(line.events[0], FindingReported):
                    found.append(Reported(line.record.event_id, line.record.timestamp_ns / 1e9, line.events[0]))
        follower.park()
        return found

    def add(self, event: FindingReported) -> Reported:
        """Write a finding and return it; a disk that refuses is reported, and the finding is used all the same."""
        at = time.time()
        reported = Reported(self._id(event), at, event)
        if self._path is not None:
            try:
                _append(self._path, self._line(reported))
            except OSError as error:
                say_once("findings", f"findings cannot be written to {self._path}: {error}; they are still sent")
        return reported

    def _id(self, event: FindingReported) -> str:
        who = ",".join(f"{name}={value}" for name, value in about(event.who))
        text = "\n".join((self._run_id, event.session or "", event.kind, who, event.grade))
        return f"{self._run_id}-finding-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _line(self, reported: Reported) -> bytes:
        moment = datetime.fromtimestamp(reported.at, UTC).isoformat(timespec="microseconds")
        line: dict[str, Any] = {
            "event_id": reported.event_id,
            "event_type": FindingReported.event_type,
            "timestamp": moment,
            "group_id": "default",
            "message": reported.event.sentence,
            "data": reported.event,
            "severity": reported.event.grade,
            "run_id": self._run_id,
            "rank": 0,
            "schema_version": SCHEMA_VERSION,
        }
        return msgspec.json.encode(line) + b"\n"


def _append(path: Path, line: bytes) -> None:
    """Append a line; one that a killed relay left unfinished is ended first."""
    number = open_to_change(path, os.O_RDWR | os.O_APPEND)
    try:
        size = os.fstat(number).st_size
        is_torn = size > 0 and os.pread(number, 1, size - 1) != b"\n"
        os.write(number, (b"\n" if is_torn else b"") + line)
    finally:
        os.close(number)
