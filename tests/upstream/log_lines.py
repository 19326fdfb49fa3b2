"""What the tests of the dialect share: the recordings of esper-lite, and lines as the log writes them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from esper_otel.esper_lite.dialect.legacy import LegacyWriter
from esper_otel.events import Event
from esper_otel.log.codec import decode
from esper_otel.log.duplicates import Duplicates
from esper_otel.log.encode import SCHEMA_VERSION, Envelope, LineEncoder
from esper_otel.log.envelope import Record
from tests.recorded import recording


class Log:
    """The lines that a writer in one of the old modes leaves, without a file."""

    def __init__(self, mode: str) -> None:
        self.lines: list[bytes] = []
        self._mode = mode
        self._legacy = LegacyWriter(mode)
        self._encoder = LineEncoder("run", 0)
        self._seq = 0

    def emit(self, *events: Event) -> None:
        for event in events:
            pairs = self._legacy.lines(event)
            self._seq += bool(pairs)
            for name, payload in pairs:
                self._write(event, name, payload)

    def close(self) -> None:
        for name, payload, event in self._legacy.flush():
            self._seq += self._mode == "legacy"
            self._write(event, name, payload)

    def records(self) -> list[Record]:
        found = [decode(line) for line in self.lines]
        assert all(isinstance(record, Record) for record in found)
        return [record for record in found if isinstance(record, Record)]

    def counted_once(self) -> list[Record]:
        """The records that are left when repetitions are dropped."""
        duplicates = Duplicates()
        return [record for record in self.records() if not duplicates.is_repeated(record)]

    def _write(self, event: Event, name: str, payload: Any) -> None:
        envelope = Envelope(1_000_000_000, "default", None, None, self._seq)
        line, lost = self._encoder.encode(event, envelope, event_type=name, payload=payload)
        assert not lost
        self.lines.append(line)


def recorded(name: str) -> list[bytes]:
    """The lines of one real run of esper-lite."""
    with gzip.open(recording(name), "rb") as lines:
        return list(lines)


def foreign(event_type: str, payload: object, **envelope: Any) -> Record:
    """A line of esper-lite: its envelope names neither run nor sequence number."""
    return Record("id", event_type, 0, data=json.dumps(payload).encode(), **envelope)


def ours(event_type: str, payload: object, **envelope: Any) -> Record:
    """A line of our own writer."""
    data = json.dumps(payload).encode()
    return Record("run-0-1", event_type, 0, run_id="run", seq=1, schema_version=SCHEMA_VERSION, data=data, **envelope)


def payloads(lines: list[bytes]) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Record and payload of each line, the payload parsed without our code."""
    for line in lines:
        record = decode(line)
        assert isinstance(record, Record)
        yield record, json.loads(line)["data"]
