"""Time from emit() to a scrape that shows it, while 1,000 other events a second are recorded.

python -m benchmarks.lag [--samples 60]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import esper_otel
from benchmarks.alternatives.ours import Ours
from benchmarks.alternatives.payloads import decision
from benchmarks.alternatives.sink import sink
from benchmarks.emit import percentile
from esper_otel.events import PolicyUpdate

EVERY_S: Final = 0.02
A_TURN: Final = 20
LONGEST_S: Final = 10.0


def measure(samples: int) -> dict[str, Any]:
    """Median, 99th percentile and maximum, ms."""
    stop = threading.Event()
    ours = Ours()
    with tempfile.TemporaryDirectory() as temporary, sink() as endpoint:
        ours.open(Path(temporary), endpoint)
        background = threading.Thread(target=_record_on, args=(stop,))
        background.start()
        try:
            times = [_until_seen(ours.metrics_url, float(number)) for number in range(1, samples + 1)]
        finally:
            stop.set()
            background.join()
            ours.close()
    return {
        "samples": samples,
        "median_ms": statistics.median(times) * 1e3,
        "p99_ms": percentile(times, 0.99) * 1e3,
        "max_ms": max(times) * 1e3,
    }


def _record_on(stop: threading.Event) -> None:
    payload = decision()
    while not stop.wait(EVERY_S):
        for number in range(A_TURN):
            esper_otel.emit(payload.build(payload.pool[number]))


def _until_seen(url: str, value: float) -> float:
    wanted = f" {value}\n".encode()
    started = time.perf_counter()
    esper_otel.emit(PolicyUpdate(policy_loss=value))
    while time.perf_counter() - started < LONGEST_S:
        with urllib.request.urlopen(url) as answer:
            body = answer.read()
        at = body.find(b"\ntamiyo_policy_loss{")
        if at >= 0 and wanted in body[at : body.find(b"\n", at + 1) + 1]:
            return time.perf_counter() - started
    raise SystemExit(f"the value {value} was not served within {LONGEST_S:g} s")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60)
    print(measure(parser.parse_args().samples))
    os._exit(0)


if __name__ == "__main__":
    main()
