"""A cable between two programs on loopback that a test can cut in the two ways in which networks fail."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

from tests.waiting import PATIENCE_S

Mode = Literal["whole", "silent", "refused"]
"""silent: bytes vanish, connections stay. refused: connections are reset, and new ones refused."""


class Cable:
    """Passes bytes from a port of its own to ``port``; use it as a context manager.

    Attributes:
        port: where to connect.
    """

    def __init__(self, port: int) -> None:
        """Lead to ``port`` of 127.0.0.1."""
        self._target = port
        self._whole = threading.Event()
        self._whole.set()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Cable:
        """Already there."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.set("refused")
        self._whole.set()
        for thread in self._threads:
            thread.join()

    def set(self, mode: Mode) -> None:
        """Cut or mend it."""
        if mode == "silent":
            self._whole.clear()
        elif mode == "refused":
            # Without the shutdown the thread that accepts would go on accepting.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            self._connections.clear()
            self._whole.set()
        else:
            if self._listener.fileno() == -1:
                self._listener = self._listen(self.port)
            self._whole.set()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._begin(self._accept, listener)
        return listener

    def _begin(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=PATIENCE_S)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._connections += [near, far]
            self._begin(self._pass, near, far)
            self._begin(self._pass, far, near)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._whole.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
