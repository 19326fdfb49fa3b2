"""The ways of recording by the name that the table gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.alternatives.esper_lite_hub import EsperLiteHub
from benchmarks.alternatives.instruments import Instruments, PrometheusClient, QueuedInstruments
from benchmarks.alternatives.lines import JsonLines
from benchmarks.alternatives.ours import Ours
from benchmarks.alternatives.payloads import Payload
from benchmarks.alternatives.peers import NemoLens, Probing
from benchmarks.alternatives.trackers import MLflow, TensorBoard, WandbOffline
from benchmarks.alternatives.way import Record, Way

OURS: Final = "esper_otel"
OURS_BUILT: Final = "esper_otel, event built before"
OURS_RECORDER: Final = "esper_otel, recorder"
NOTHING: Final = "nothing (A/A)"
HIGHEST_RATE_ALONE: Final = frozenset({OURS_BUILT, NOTHING})
"""Ways that are there to compare with: a lower rate would say nothing new."""


class Nothing:
    """Records nothing: shows the error of the method itself."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Nothing."""

    def recorder(self, payload: Payload) -> Record:
        """Nothing."""
        return lambda numbers: None

    def settle(self) -> None:
        """Nothing."""

    def lost(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """Nothing."""


WAYS: Final[dict[str, Callable[[], Way]]] = {
    NOTHING: Nothing,
    OURS: Ours,
    OURS_BUILT: lambda: Ours(is_built=True),
    OURS_RECORDER: lambda: Ours(is_recorder=True),
    "OpenTelemetry gauges on the training thread": Instruments,
    "OpenTelemetry gauges, queue and thread": QueuedInstruments,
    "prometheus_client gauges": PrometheusClient,
    "probing, a table in memory": Probing,
    "NeMo Lens, spans": NemoLens,
    "TensorBoard": TensorBoard,
    "W&B offline": WandbOffline,
    "MLflow, sqlite": lambda: MLflow("sqlite"),
    "MLflow, files": lambda: MLflow("file"),
    "JSON lines (json.dumps)": JsonLines,
    "esper-lite's hub, file": EsperLiteHub,
    "esper-lite's hub, file and W&B": lambda: EsperLiteHub(wandb=True),
}
