"""The translators that name metrics on the other paths to Prometheus: the real ones."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from esper_otel.relay.metrics.families import Family
from esper_otel.relay.otlp.metrics_data import metrics_data
from tests.tools import tool

SOURCE = Path(__file__).parent / "otlptranslator"


class GoTranslator:
    """The library that Prometheus' OTLP receiver and the Collector use, in a process that answers line by line."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @classmethod
    def built_in(cls, directory: Path) -> GoTranslator:
        """Build the program at ``directory``; its one module comes from the Go proxy, pinned by ``go.sum``."""
        program = directory / "otlptranslator"
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
        command = [tool("go"), "build", "-o", str(program), "."]
        built = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        return cls(program)

    def __enter__(self) -> GoTranslator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()

    def name(self, name: str, unit: str, instrument: str) -> str:
        """Name of a metric under UnderscoreEscapingWithSuffixes, the default of both."""
        return str(self._ask(type=instrument, name=name, unit=unit))

    def label(self, attribute: str) -> str:
        """Label of an attribute."""
        return str(self._ask(type="label", name=attribute))

    def bounds(self, bound: float) -> tuple[str, str]:
        """``le`` of a bucket as Prometheus 3 keeps it: after a scrape, and from OTLP."""
        scraped, received = self._ask(type="bound", bound=bound)
        return scraped, received

    def _ask(self, **asked: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the translator ended on {asked}"
        return json.loads(answer)


def python_families(families: list[Family]) -> list[Metric]:
    """What OpenTelemetry's own Prometheus exporter for Python makes of our OTLP data."""
    registry = CollectorRegistry(auto_describe=False)
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)
    data = metrics_data(
        families, resource=Resource({}), scope=InstrumentationScope("test"), start_ns=1, time_ns=2_000_000_000
    )
    reader._receive_metrics(data)
    exported = list(registry.collect())
    reader.shutdown()
    return exported


def series_names(metric: Metric) -> set[str]:
    """Names of a family's series, ``_bucket``, ``_sum`` and ``_count`` of a histogram included."""
    return {sample.name for sample in metric.samples}


def point(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...], float]:
    """A sample without what a path adds to it; ``le`` as a number."""
    labels = {name: str(float(value)) if name == "le" else value for name, value in sample.labels.items() if value}
    return sample.name, tuple(sorted(labels.items())), sample.value
