"""JSON lines by hand: the standard library's encoder, one line and one write for each event."""

from __future__ import annotations

import json
import time
from pathlib import Path

from benchmarks.alternatives.payloads import Numbers, Payload
from benchmarks.alternatives.way import Record


class JsonLines:
    """``json.dumps`` of a dictionary, written on the training thread and flushed, so that a kill loses nothing."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Open the file."""
        self._file = (directory / "events.jsonl").open("a", buffering=1)

    def recorder(self, payload: Payload) -> Record:
        """Encode and write."""
        names, texts, write = payload.names, payload.texts, self._file.write
        event_type = payload.name

        def record(numbers: Numbers) -> None:
            data = {**texts, **dict(zip(names, numbers, strict=True))}
            write(json.dumps({"timestamp": time.time(), "event_type": event_type, "data": data}) + "\n")

        return record

    def settle(self) -> None:
        """Nothing waits."""

    def lost(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
