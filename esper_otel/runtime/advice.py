"""Findings of the relay about this run, for a trainer that wants to obey them."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log import manifest
from esper_otel.log.layout import FINDINGS_FILE
from esper_otel.log.opening import open_to_read

MAX_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the findings that are read at once; a run has some hundred, of 1 KB each."""


class _Finding(msgspec.Struct):
    sentence: str = ""
    session: str | None = None
    stops: bool | None = None


class _Line(msgspec.Struct):
    event_type: str
    timestamp: datetime
    data: _Finding


_DECODER: Final = msgspec.json.Decoder(_Line)


class Advice:
    """Looks for a critical finding about the present session of the run.

    Attributes:
        reason: its verdict; empty while there is none.
    """

    def __init__(self) -> None:
        """Findings from before now are about an earlier session."""
        self._began_s = time.time()
        self._offset = 0
        self.reason = ""

    def look(self, run_dir: Path) -> None:
        """Read what was found since the last look. For a thread that may wait for a disk.

        Raises:
            OSError, ValueError: the findings, or the run's manifest, cannot be read; the next look tries again.
        """
        path = run_dir / FINDINGS_FILE
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return
        if self.reason or size == self._offset:
            return
        begin = self._offset if size > self._offset else 0  # a shorter file is another one
        with open_to_read(path) as file:
            if os.fstat(file.fileno()).st_uid not in {os.geteuid(), 0}:
                return  # whoever may write to the directory may not end the training
            file.seek(begin)
            whole, newline, _ = (file.read(MAX_BYTES) or b"").rpartition(b"\n")
        for line in whole.split(b"\n"):
            self._take(line, run_dir)
        self._offset = begin + len(whole) + len(newline)  # a line that is being written is read the next time

    def _take(self, line: bytes, run_dir: Path) -> None:
        try:
            found = _DECODER.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return  # torn, or not ours
        is_now = found.timestamp.timestamp() >= self._began_s
        if found.data.stops and is_now and found.data.session == manifest.read(run_dir).get("started_at"):
            self.reason = self.reason or found.data.sentence or "a critical finding"
