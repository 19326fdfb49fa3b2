"""Helper processes that read batches of lines, for logs that are too long for one.

Each runs :mod:`.helper`: forking a process that has threads can hang, and multiprocessing's other ways
import the caller's main module again. Frames on the pipes are a length of 8 bytes and MessagePack.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import IO, Final

import msgspec

from esper_otel.sql.staging.rows import Batch, rows_of

MAX_WORKERS: Final = 8
_LENGTH: Final = struct.Struct("<Q")
_ROWS: Final = msgspec.msgpack.Decoder(dict[str, bytes])

Rows = dict[str, bytes]


def rows_in_order(batches: Iterable[Batch], *, processes: int) -> Iterator[Rows]:
    """The rows of each batch, in order; with ``processes`` 0 this process does the work.

    Raises:
        RuntimeError: a helper died; its own message is on stderr.
    """
    if processes == 0:
        yield from map(rows_of, batches)
        return
    with Pool(processes) as pool:
        pending: deque[Future[bytes]] = deque()
        for batch in batches:
            pending.append(pool.ask(batch))
            if len(pending) > 2 * pool.size:
                yield _ROWS.decode(pending.popleft().result())
        while pending:
            yield _ROWS.decode(pending.popleft().result())


def available_processes() -> int:
    """CPUs that this process may use."""
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS)


class Pool:
    """Helper processes.

    Attributes:
        size: how many there are.
    """

    def __init__(self, size: int) -> None:
        """Start ``size`` of them, at most :data:`MAX_WORKERS`."""
        # -P: the present directory may be the run that is read, which is no place to import from
        command = [sys.executable, "-P", "-m", "esper_otel.sql.staging.helper"]
        self.size = size = min(size, MAX_WORKERS)
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(size)
        ]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="esper-sql")

    def ask(self, question: msgspec.Struct) -> Future[bytes]:
        """The answer of the first helper that is free to a question that :mod:`.helper` knows.

        It raises ``RuntimeError`` where that helper died.
        """
        return self._threads.submit(self._ask, msgspec.msgpack.encode(question))

    def _ask(self, question: bytes) -> bytes:
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            write_frame(process.stdin, question)
            answer = read_frame(process.stdout)
        except OSError as error:
            raise RuntimeError(f"a helper process of esper_otel.sql died: {error}") from error
        finally:
            self._idle.put(process)  # also when it is dead: those who wait for it must learn that
        if answer is None:
            raise RuntimeError("a helper process of esper_otel.sql died")
        return answer

    def __enter__(self) -> Pool:
        """The pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the helpers."""
        for process in self._processes:
            process.terminate()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()


def write_frame(stream: IO[bytes], frame: bytes) -> None:
    """Send one frame.

    Raises:
        OSError: the other process ended.
    """
    stream.write(_LENGTH.pack(len(frame)))
    stream.write(frame)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None if the other process closed the pipe."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return stream.read(_LENGTH.unpack(head)[0])
