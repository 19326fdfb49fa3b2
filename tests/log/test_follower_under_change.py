"""A follower reads each line once, whatever happens to the files between two reads."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from esper_otel.log.compression.compress import compress
from esper_otel.log.envelope import Record
from esper_otel.log.layout import Series
from esper_otel.log.reader import LogReader


class GrowingLog(RuleBasedStateMachine):
    """Writes, rotates, compresses, reads and restarts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.series = Series(Path(self.directory.name), 0)
        self.series.active.touch()
        self.reader = LogReader(self.series.directory, follow=True)
        self.written = 0
        self.unfinished = b""
        self.found: list[int | None] = []

    def append(self, content: bytes) -> None:
        with self.series.active.open("ab") as file:
            file.write(content)

    def next_line(self) -> bytes:
        self.written += 1
        event = {"event_type": "A", "timestamp": "2026-11-22T19:40:00Z", "seq": self.written, "data": {"é\n": 1}}
        return json.dumps(event).encode() + b"\n"

    @rule(count=st.integers(1, 5), part=st.integers(1, 60))
    def write(self, count: int, part: int) -> None:
        content = self.unfinished + b"".join(self.next_line() for _ in range(count))
        self.append(content[:-part])
        self.unfinished = content[-part:]

    @rule()
    def finish_line(self) -> None:
        self.append(self.unfinished)
        self.unfinished = b""

    @precondition(lambda self: not self.unfinished)
    @rule()
    def rotate(self) -> None:
        self.series.active.rename(self.series.closed_path(self.series.numbers()[-1]))
        self.series.active.touch()

    @rule()
    def compress_one(self) -> None:
        plain = [path for path in self.series.closed().values() if path.suffix == ".jsonl"]
        if plain:
            compress(plain[0])

    @rule(limit=st.integers(1, 7))
    def read(self, limit: int) -> None:
        batch = self.reader.read(limit)
        assert len(batch) <= limit
        self.found += [item.seq if isinstance(item, Record) else None for item in batch]
        assert self.found == list(range(1, len(self.found) + 1))

    @rule()
    def restart(self) -> None:
        positions = json.loads(json.dumps(self.reader.positions))
        self.reader.close()
        self.reader = LogReader(self.series.directory, follow=True, positions=positions)

    def teardown(self) -> None:
        self.finish_line()
        self.reader.finish()
        while batch := self.reader.read(3):
            self.found += [item.seq if isinstance(item, Record) else None for item in batch]
        self.reader.close()
        self.directory.cleanup()

        assert list(range(1, self.written + 1)) == self.found


GrowingLog.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGrowingLog = GrowingLog.TestCase
