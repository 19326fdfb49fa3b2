"""Where others learn of a relay: the run's ``run.json``, and the targets file that Prometheus reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.resources import Resource

from esper_otel.log import manifest
from esper_otel.relay.console import say
from esper_otel.relay.endpoint import Endpoint, Target, announce, withdraw
from esper_otel.relay.options import Subject
from esper_otel.relay.otlp import Exporters


class Presence:
    """The entries of one relay. A file that cannot be written is said and is no reason to stop."""

    def __init__(self, subject: Subject, resource: Resource) -> None:
        """Nothing is written yet."""
        self._subject = subject
        self._job = str(resource.attributes["service.name"])
        self._instance = str(resource.attributes["service.instance.id"])

    def announce(self, endpoint: Endpoint | None, exporters: Exporters) -> None:
        """Say and write down where the relay serves and sends."""
        for problem in exporters.problems:
            say(problem)
        if endpoint is not None:
            say(f"metrics of run {self._subject.run_id} at {endpoint.url}")
        say(exporters.describe())
        self._update_manifest(
            relay={
                "pid": os.getpid(),
                "prometheus_url": endpoint.url if endpoint else None,
                "otlp_endpoint": next((exporter.endpoint for exporter in exporters.active), None),
            }
        )
        directory = self._subject.targets_directory
        if directory is not None and endpoint is not None:
            # The labels are those that the OTLP path gives: one alert, whichever way its metric came.
            target = Target([f"{endpoint.host}:{endpoint.port}"], {"job": self._job, "instance": self._instance})
            _try("prometheus_targets.json", lambda: announce(directory, target))

    def record_end(self, status: str, at_ns: int) -> None:
        """Write down how the run ended, on behalf of a training process that cannot; ``at_ns`` is Unix time."""
        ended_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns / 1e9))
        self._update_manifest(status=status, ended_at=ended_at)

    def withdraw(self) -> None:
        """Take the entry out of the targets file."""
        directory = self._subject.targets_directory
        if directory is not None:
            _try("prometheus_targets.json", lambda: withdraw(directory, self._instance))

    def _update_manifest(self, **fields: Any) -> None:
        directory = self._subject.directory
        if directory is not None and self._subject.is_ours:
            _try("run.json", lambda: manifest.update(directory, **fields))


def _try(name: str, change: Callable[[], object]) -> None:
    try:
        change()
    except (OSError, ValueError) as error:
        say(f"{name} could not be written: {error}")
