"""An OTLP receiver in its own process that accepts and discards everything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

from benchmarks.relay import Discard


@contextmanager
def sink() -> Iterator[str]:
    """Start one and return its address."""
    command = [sys.executable, "-m", "benchmarks.alternatives.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


def main() -> None:
    """Print the address, and listen until stopped."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Discard)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
