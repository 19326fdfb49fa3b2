"""What an event costs the training process: emit() and building it on the training thread, encoding and writing beside.

    python -m benchmarks.emit_costs [--events 40000]

Events come 40 at a time every 4 ms, as from a training step. Both threads of the log are counted together.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from typing import Any, Final

import msgspec

import esper_otel
from benchmarks.alternatives.payloads import PAYLOADS, Payload

A_STEP: Final = 40
STEP_S: Final = 0.004


def measure(events: int) -> list[dict[str, Any]]:
    """A row for each payload: ns on the training thread, µs of CPU time on the log's threads."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        telemetry = esper_otel.configure(telemetry_dir=directory, relay=False)
        for make in PAYLOADS.values():
            payload = make()
            before = telemetry.counters["emitted"]
            others_s, build_ns, emit_ns = _run(payload, events)
            while telemetry.counters["written"] < before + events:
                time.sleep(0.01)
            row = {"payload": payload.name, "build_ns": build_ns, "emit_ns": emit_ns}
            rows.append(row | {"threads_us": others_s / events * 1e6})
        esper_otel.shutdown()
    return rows


def _run(payload: Payload, events: int) -> tuple[float, float, float]:
    """CPU time of other threads, s; means of building and of emitting, ns an event."""
    pool, emit, build = itertools.cycle(payload.pool), esper_otel.emit, payload.build
    built_ns = emitted_ns = 0
    process_s, own_s = time.process_time(), time.thread_time()
    for _ in range(events // A_STEP):
        numbers = list(itertools.islice(pool, A_STEP))
        begin = time.perf_counter_ns()
        made = [build(each) for each in numbers]
        middle = time.perf_counter_ns()
        for event in made:
            emit(event)
        end = time.perf_counter_ns()
        built_ns, emitted_ns = built_ns + middle - begin, emitted_ns + end - middle
        time.sleep(STEP_S)
    others_s = (time.process_time() - process_s) - (time.thread_time() - own_s)
    return others_s, built_ns / events, emitted_ns / events


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    for row in measure(parser.parse_args().events):
        print(msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main()
