"""Looking through other processes' open files, of which some end meanwhile."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from esper_otel.relay.lifecycle.evidence import is_open_here


def test_processes_that_end_while_they_are_looked_through_do_no_harm(tmp_path: Path) -> None:
    log, stop = tmp_path / "events.jsonl", threading.Event()
    log.write_text("")

    def come_and_go() -> None:
        while not stop.is_set():
            for child in [subprocess.Popen(["true"]) for _ in range(8)]:
                child.wait()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        assert not any(is_open_here(log) for _ in range(60))
        with log.open("a"):
            assert is_open_here(log)
    finally:
        stop.set()
        thread.join()
