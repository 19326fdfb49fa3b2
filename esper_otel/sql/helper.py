"""A helper process that turns batches of lines into rows until its input ends (:mod:`esper_otel.sql.workers`)."""

from __future__ import annotations

import signal
import sys

import msgspec

from esper_otel.sql.rows import Batch, rows_of
from esper_otel.sql.workers import read_frame, write_frame


def main() -> None:
    """Answer every batch on standard input with its rows on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller ends its helpers
    decoder = msgspec.msgpack.Decoder(Batch)
    while (question := read_frame(sys.stdin.buffer)) is not None:
        write_frame(sys.stdout.buffer, msgspec.msgpack.encode(rows_of(decoder.decode(question))))


if __name__ == "__main__":
    main()
