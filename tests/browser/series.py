"""Series of runs as OpenMetrics text: real ones with their clock stretched, and made ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from esper_otel.alerts.promql import BY_NAME
from tests.grafana.lives import STATES
from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.tools import ROOT, tool

STEP_S: Final = 15


def stretched(run: Path, directory: Path, began: float, ended: float) -> Path:
    """A finished run as its relay would have served it, between two Unix times in place of its own."""
    text = directory / f"{run.name}.om"
    command = [str(Path(sys.executable).parent / "esper-otel"), "backfill", str(run), "-o", str(text), "--step", "1s"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    lines = text.read_text(encoding="utf-8").splitlines()
    times = [float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"]
    first, scale = min(times), (ended - began) / (max(times) - min(times))
    moved = (line if not line or line[0] == "#" else _moved(line, first, began, scale) for line in lines)
    text.write_text("\n".join([*moved, ""]), encoding="utf-8")
    return text


def _moved(line: str, first: float, began: float, scale: float) -> str:
    sample, at = line.rsplit(" ", 1)
    then = began + (float(at) - first) * scale
    if sample.partition("{")[0].endswith("_timestamp_seconds"):
        name, value = sample.rsplit(" ", 1)
        sample = f"{name} {began + (float(value) - first) * scale:.3f}"
    return f"{sample} {then:.3f}"


def made(directory: Path, name: str, gauges: Mapping[tuple[str, str], float], since: float, until: float) -> Path:
    """A run that reported the same numbers from one Unix time to another: value by signal and further labels."""
    run = f'job="esper",instance="{name}"'
    times = range(int(since), int(until), STEP_S)
    lines: dict[str, list[str]] = {}
    for (signal, labels), value in gauges.items():
        metric = BY_NAME[signal].prometheus_name
        own = f'{{{run},rank="0"{"," if labels else ""}{labels}}}'
        lines.setdefault(metric, []).extend(f"{metric}{own} {value:g} {at}" for at in times)
    lines["esper_run_status"] = [
        f'esper_run_status{{{run},esper_run_state="{word}"}} {int(word == "running")} {at}'
        for word in STATES
        for at in times
    ]
    text = directory / f"{name}.om"
    families = [line for metric, found in lines.items() for line in (f"# TYPE {metric} gauge", *found)]
    text.write_text("\n".join([*families, "# EOF", ""]), encoding="utf-8")
    return text


@contextmanager
def prometheus_of(texts: list[Path], directory: Path) -> Iterator[Prometheus]:
    """A Prometheus that has all of them."""
    for text in texts:
        created = [tool("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text)]
        subprocess.run([*created, str(directory / "data")], check=True, capture_output=True)
    with prometheus_on(directory / "targets.json", directory) as prometheus:
        prometheus.wait_for("last_over_time(esper_run_status[30d])")
        yield prometheus
