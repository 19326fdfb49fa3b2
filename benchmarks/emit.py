"""Cost of emit() on the training thread against recording the same fields directly into OpenTelemetry instruments.

Both are timed in one process, in turns, while the writer's threads really write::

    python -m benchmarks.emit [--rounds 40] [--burst 400]

``burst`` figures are calls back to back; ``paced`` ones are single calls 2 ms apart with other work between them, so
that caches are as cold as in training. The event is a decision with 40 values. Building it is timed apart, since any
way of recording has to bring the values together.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import esper_otel
from esper_otel.events import Decision

HEADS = ("op", "slot", "blueprint", "style", "tempo", "alpha_target", "alpha_speed", "alpha_curve")
ATTRIBUTES: dict[str, str | int] = {"env_id": 3, "group_id": "default"}


def decision() -> Decision:
    """A decision that holds 40 values: 16 fields and 24 of the 8 heads."""
    return Decision(
        env_id=3,
        episode_idx=12,
        inner_epoch=7,
        action_name="GERMINATE",
        action_success=True,
        action_confidence=0.7,
        decision_entropy=1.2,
        value_estimate=0.4,
        total_reward=0.25,
        slot_id="r0c1",
        blueprint_id="conv_light",
        style="sigmoid_add",
        blend_id="sigmoid",
        tempo_idx=1,
        alpha_target=0.7,
        alpha_speed="FAST",
        head_confidence=dict(zip(HEADS, (0.7, 0.5, 0.3, 0.4, 0.6, 0.2, 0.8, 0.9), strict=True)),
        head_choice_entropy=dict(zip(HEADS, (0.7, 0.5, 0.3, 0.4, 0.6, 0.2, 0.8, 0.9), strict=True)),
        head_forced=dict.fromkeys(HEADS, False),
    )


def record_directly(meter: Meter) -> Callable[[], None]:
    """A function that sets 40 gauges with two attributes, prepared as well as possible."""
    gauges = [meter.create_gauge(f"decision.value_{number}") for number in range(40)]

    def record() -> None:
        for number, gauge in enumerate(gauges):
            gauge.set(0.5 + number, ATTRIBUTES)

    return record


def burst(call: Callable[[], object], count: int) -> float:
    """Mean time of ``count`` calls back to back, µs."""
    started = time.perf_counter_ns()
    for _ in range(count):
        call()
    return (time.perf_counter_ns() - started) / count / 1e3


def paced(call: Callable[[], object], count: int) -> list[float]:
    """Time of each of ``count`` calls 2 ms apart, with work between them that uses the caches, µs."""
    times: list[float] = []
    clutter = list(range(50_000))
    for _ in range(count):
        sum(clutter)
        time.sleep(0.001)
        started = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - started) / 1e3)
    return times


def percentile(values: list[float], share: float) -> float:
    """The value below which a ``share`` (0 to 1) of ``values`` lies."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def measure(rounds: int, burst_calls: int) -> dict[str, tuple[list[float], list[float]]]:
    """Burst and paced times of each way, µs, taken in turns."""
    record = record_directly(MeterProvider([InMemoryMetricReader()]).get_meter("benchmark"))
    event = decision()
    emit = esper_otel.emit
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "loop alone": (lambda: None, burst_calls),
        "emit()": (lambda: emit(event), burst_calls),
        "build the event": (decision, burst_calls),
        "40 gauges directly": (record, max(burst_calls // 20, 1)),
    }
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for _ in range(rounds):
        for name, (call, count) in ways.items():
            times[name][0].append(burst(call, count))
            times[name][1].extend(paced(call, 10))
        time.sleep(0.03)  # the writer catches up: steady state, as in training
    return times


def report(times: dict[str, tuple[list[float], list[float]]]) -> None:
    """Print medians, 99th percentiles and ratios."""
    print(f"{'µs per call':22}{'burst p50':>11}{'burst p99':>11}{'paced p50':>11}{'paced p99':>11}{'ratio':>9}")
    loop = statistics.median(times["loop alone"][0])
    own = statistics.median(times["emit()"][0])
    for name, (bursts, singles) in times.items():
        median = statistics.median(bursts)
        ratio = "" if name == "loop alone" else f"{(median - loop) / (own - loop):.1f}x"
        figures = (median, percentile(bursts, 0.99), statistics.median(singles), percentile(singles, 0.99))
        print(f"{name:22}" + "".join(f"{figure:11.3f}" for figure in figures) + f"{ratio:>9}")
    print(f"emit() alone, the loop taken off: {own - loop:.3f} µs")


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40, help="turns that each way gets")
    parser.add_argument("--burst", type=int, default=400, help="calls in a burst")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        telemetry = esper_otel.configure(telemetry_dir=directory, relay=False)
        gc.disable()
        times = measure(arguments.rounds, arguments.burst)
        gc.enable()
        esper_otel.shutdown()
        report(times)
        print(f"writer: {telemetry.counters}")


if __name__ == "__main__":
    main()
