"""Cost of a layer before the first event of a training process: import time, start-up time and memory.

    python -m benchmarks.footprint [--repeats 5]

Each figure is the median over fresh processes that have imported torch before, as a trainer has.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from typing import Any, Final

import msgspec

LAYERS: Final = {
    "esper_otel": "import esper_otel; from esper_otel.events import PolicyUpdate",
    "esper_otel, configured": (
        "import esper_otel, tempfile; from esper_otel.events import PolicyUpdate; "
        "esper_otel.configure(telemetry_dir=tempfile.mkdtemp(dir=DIR), relay=False)"
    ),
    "OpenTelemetry SDK, OTLP metrics": (
        "from opentelemetry.sdk.metrics import MeterProvider; "
        "from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader; "
        "from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter; "
        "MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])"
    ),
    "prometheus_client": "import prometheus_client",
    "TensorBoard": "from torch.utils.tensorboard import SummaryWriter",
    "W&B": "import wandb",
    "MLflow": "import mlflow",
}

_CHILD: Final = """
import os, sys, time, tempfile
import torch
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
with tempfile.TemporaryDirectory() as DIR:
    before, started = resident(), time.perf_counter()
    try:
        exec(sys.argv[1])
    except ImportError:
        print("missing", 0, flush=True)
    else:
        print((time.perf_counter() - started) * 1e3, (resident() - before) / 1e6, flush=True)
os._exit(0)
"""


def measure(repeats: int) -> list[dict[str, Any]]:
    """A row for each layer, without figures if it is not installed."""
    rows = []
    for name, source in LAYERS.items():
        found = [_once(source) for _ in range(repeats)]
        row: dict[str, Any] = {"layer": name}
        if all(found):
            row["import_ms"] = statistics.median(took for took, _ in found)
            row["memory_mb"] = statistics.median(memory for _, memory in found)
        rows.append(row)
    return rows


def _once(source: str) -> tuple[float, ...]:
    done = subprocess.run([sys.executable, "-c", _CHILD, source], check=True, capture_output=True, text=True)
    took, memory = done.stdout.split()[-2:]
    return () if took == "missing" else (float(took), float(memory))


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    for row in measure(parser.parse_args().repeats):
        print(msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main()
