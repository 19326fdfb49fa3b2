"""torch.compile's figures against torch._dynamo's own report: its counters and its log lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

from esper_otel.events import GraphBreak, Recompilation
from esper_otel.sensors import CompilerSensor
from tests.tools import python_environment
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    torch._dynamo.utils.clear_compilation_metrics()
    yield
    torch._dynamo.reset()


def breaks_twice(x: torch.Tensor) -> torch.Tensor:
    y = x.sin()
    torch._dynamo.graph_break()
    y = y.cos()
    torch._dynamo.graph_break()
    return y + 1


def breaks_once(x: torch.Tensor) -> torch.Tensor:
    y = x.sin()
    torch._dynamo.graph_break()
    return y + 1


def scaled(x: torch.Tensor, factor: int) -> torch.Tensor:
    return x * factor


def test_graph_breaks_are_those_that_dynamo_counted_each_with_reason_and_place() -> None:
    sensor = CompilerSensor()
    torch.compile(breaks_twice, backend="eager")(torch.ones(3))
    reading = sensor.take()

    assert reading.stats.graph_breaks == sum(counters["graph_break"].values()) == 2
    breaks = [event for event in reading.news if isinstance(event, GraphBreak)]
    assert sum(event.count for event in breaks) == 2
    assert all("torch._dynamo.graph_break()" in event.reason for event in breaks)
    assert all(event.location.startswith(f"{__file__}:") for event in breaks)


def test_recompilations_name_the_function_and_the_guard_that_failed() -> None:
    sensor = CompilerSensor()
    compiled = torch.compile(scaled, backend="eager", dynamic=False)
    for size in (2, 3, 4):
        compiled(torch.ones(size), 2)
    reading = sensor.take()

    assert reading.stats.recompilations == 2
    events = [event for event in reading.news if isinstance(event, Recompilation)]
    assert [event.function for event in events] == ["scaled", "scaled"]
    assert [event.guard.split(": ", 1)[1] for event in events] == [
        "tensor 'x' size mismatch at index 0. expected 2, actual 3",
        "tensor 'x' size mismatch at index 0. expected 3, actual 4",
    ]
    assert [event.cache_size for event in events] == [1, 2]


def test_what_was_told_once_is_not_told_again() -> None:
    sensor = CompilerSensor()
    compiled = torch.compile(scaled, backend="eager", dynamic=False)
    compiled(torch.ones(2), 2)
    compiled(torch.ones(3), 2)
    assert len(sensor.take().news) == 1
    assert sensor.take().news == ()
    compiled(torch.ones(4), 2)

    assert len(sensor.take().news) == 1


def test_counters_that_were_cleared_start_anew() -> None:
    sensor = CompilerSensor()
    torch.compile(breaks_twice, backend="eager")(torch.ones(3))
    sensor.take()
    torch._dynamo.reset()
    counters.clear()
    torch.compile(breaks_once, backend="eager")(torch.ones(3))
    reading = sensor.take()

    assert reading.stats.graph_breaks == 1
    assert [event.count for event in reading.news if isinstance(event, GraphBreak)] == [1]


def test_a_storm_is_counted_in_full_and_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esper_otel.sensors.compiler.MAX_EVENTS", 3)
    sensor = CompilerSensor()
    compiled = torch.compile(scaled, backend="eager", dynamic=False)
    for size in range(2, 9):
        compiled(torch.ones(size), 2)
    reading = sensor.take()

    assert reading.stats.recompilations == 6
    assert len(reading.news) == 3


def test_another_version_of_torch_is_a_fault_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._dynamo.utils, "calculate_time_spent")
    sensor = CompilerSensor()

    assert sensor.take() is None
    assert sensor.take() is None
    assert sensor.faults.counts == {("compiler", "unreadable"): 1}


CHILD = """
import json, logging, sys, torch
import torch._dynamo
torch.set_num_threads(1)
lines = []
class Keep(logging.Handler):
    def emit(self, record): lines.append(record.getMessage())
from torch._dynamo.utils import counters
torch._logging.set_logs(recompiles=True, graph_breaks=True)
for name in ("torch._dynamo.guards.__recompiles", "torch._dynamo.symbolic_convert.__graph_breaks"):
    logging.getLogger(name).addHandler(Keep())
def f(x, n):
    y = x.sin()
    torch._dynamo.graph_break()
    return y * n
g = torch.compile(f, dynamic=False)
for size in (2, 3):
    g(torch.ones(size), 2)
from esper_otel.sensors import CompilerSensor
stats = CompilerSensor().take().stats
def both(kind):
    return [counters["inductor"][f"fxgraph_cache_{kind}"], counters["aot_autograd"][f"autograd_cache_{kind}"]]
print(json.dumps({
    "sensor": [stats.graph_breaks, stats.recompilations, stats.cache_hits, stats.cache_misses, stats.compile_time_s],
    "dynamo": [sum(counters["graph_break"].values()), both("hit"), both("miss"),
               torch._dynamo.utils.calculate_time_spent()["total_wall_time"]],
    "recompile_lines": sum("Recompiling function" in line for line in lines),
    "break_lines": sum("Graph break in user code" in line or "Graph Break Reason" in line for line in lines),
}))
"""


def run_inductor(cache: Path) -> dict[str, object]:
    environment = python_environment(TORCHINDUCTOR_CACHE_DIR=str(cache), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_inductors_cache_counts_and_dynamos_log_agree_with_the_sensor(tmp_path: Path) -> None:
    """Twice with one cache directory: first all misses, then all hits."""
    cold, warm = run_inductor(tmp_path), run_inductor(tmp_path)

    for report in (cold, warm):
        breaks, recompilations, hits, misses, compile_s = report["sensor"]
        assert report["dynamo"] == [
            breaks,
            [hits["inductor"], hits["aot_autograd"]],
            [misses["inductor"], misses["aot_autograd"]],
            compile_s,
        ]
        assert recompilations == report["recompile_lines"] == 2
        assert breaks == 2
    assert sum(cold["sensor"][3].values()) > 0
    assert sum(warm["sensor"][2].values()) > 0
    assert sum(warm["sensor"][3].values()) == 0
