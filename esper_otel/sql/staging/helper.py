"""A helper process that makes rows of batches of lines and of slices of logs until its input ends (:mod:`.workers`)."""

from __future__ import annotations

import signal
import sys
from typing import Any

import msgspec

from esper_otel.sql.staging.rows import Batch, rows_of
from esper_otel.sql.staging.slice import Failed, Slice, read_slice
from esper_otel.sql.staging.workers import read_frame, write_frame


def main() -> None:
    """Answer every question from standard input on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller ends its helpers
    decoder = msgspec.msgpack.Decoder(Batch | Slice)
    while (question := read_frame(sys.stdin.buffer)) is not None:
        write_frame(sys.stdout.buffer, msgspec.msgpack.encode(_answer(decoder.decode(question))))


def _answer(question: Batch | Slice) -> Any:
    if isinstance(question, Batch):
        return rows_of(question)
    try:
        return read_slice(question)
    except OSError as error:
        return Failed(str(error))


if __name__ == "__main__":
    main()
