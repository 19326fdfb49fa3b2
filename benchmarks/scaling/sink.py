"""Accepts OTLP over HTTP and discards it: a back end that is never the bottleneck. Runs as its own process.

Prints its port, then serves until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
MARK: Final = b"\r\n\r\n"


class Discard(asyncio.Protocol):
    """One connection. Requests have a Content-Length, as the collector's exporters send them."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection for the answers."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Count bodies off by their length; answer at the end of each."""
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                if not self._left:
                    self._answer()
                continue
            head, mark, data = (self._head + data).partition(MARK)
            if not mark:
                self._head = head
                return
            self._head = b""
            self._left = _length(head)
            if not self._left:
                self._answer()

    def _answer(self) -> None:
        assert self._transport is not None
        self._transport.write(ANSWER)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve() -> None:
    """Listen on a free port of 127.0.0.1 until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Discard, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
