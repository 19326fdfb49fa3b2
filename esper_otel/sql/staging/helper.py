"""A helper process that converts batches of lines to rows until its input ends (:mod:`.workers`)."""

from __future__ import annotations

import signal
import sys

import msgspec

from esper_otel.sql.staging.rows import Batch, rows_of
from esper_otel.sql.staging.workers import read_frame, write_frame


def main() -> None:
    """Answer every batch from standard input with its rows on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller ends its helpers
    decoder = msgspec.msgpack.Decoder(Batch)
    while (question := read_frame(sys.stdin.buffer)) is not None:
        write_frame(sys.stdout.buffer, msgspec.msgpack.encode(rows_of(decoder.decode(question))))


if __name__ == "__main__":
    main()
