"""Cost of an event in the training process: building and emit() on the training thread, encoding and writing beside it.

    python -m benchmarks.emit_costs [--events 40000]

Events come 40 at a time every 4 ms, as from a training step. ``threads_us`` counts both threads of the log together,
``encoder_us`` and ``disk_us`` each; what wakes them and cold caches are part of it. The last two are the encoder's work
alone, a slice of events again and again: its lines, and in them what msgspec needs for the payloads, which is the least
that they can cost.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

import esper_otel
from benchmarks.alternatives.payloads import PAYLOADS, Payload
from esper_otel.log.encode import LineEncoder
from esper_otel.log.writing.queue import SLICE_EVENTS

A_STEP: Final = 40
STEP_S: Final = 0.004
REPEATS: Final = 500


def measure(events: int) -> list[dict[str, Any]]:
    """A row for each payload: ns on the training thread, µs of CPU time on the log's threads."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        telemetry = esper_otel.configure(telemetry_dir=directory, relay=False)
        for make in PAYLOADS.values():
            payload = make()
            before, threads = telemetry.counters["emitted"], _cpu_s()
            others_s, build_ns, emit_ns = _run(payload, events)
            while telemetry.counters["written"] < before + events:
                time.sleep(0.01)
            row = {"payload": payload.name, "build_ns": build_ns, "emit_ns": emit_ns}
            each = {name: (now - threads[name]) / events * 1e6 for name, now in _cpu_s().items()}
            rows.append(row | {"threads_us": others_s / events * 1e6} | each | _hot(payload))
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


def _cpu_s() -> dict[str, float]:
    """CPU time of each thread of the log so far, s."""
    names = {"esper-otel-encoder": "encoder_us", "esper-otel-disk": "disk_us"}
    threads = [(names[thread.name], thread.ident) for thread in threading.enumerate() if thread.name in names]
    return {name: time.clock_gettime(time.pthread_getcpuclockid(ident)) for name, ident in threads if ident}


def _hot(payload: Payload) -> dict[str, float]:
    """The encoder's work on a slice that it just had, µs an event."""
    made = [payload.build(numbers) for numbers in payload.pool[:SLICE_EVENTS]]
    items = [(event, time.time_ns(), "default", None, None) for event in made]
    lines, plain = LineEncoder("run", 0), msgspec.json.Encoder()
    return {
        "lines_us": _usual_us(lambda: lines.encode_slice(items, 1)),
        "payloads_us": _usual_us(lambda: plain.encode_lines(made)),
    }


def _usual_us(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / SLICE_EVENTS / 1e3


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    for row in measure(parser.parse_args().events):
        print(msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main()
