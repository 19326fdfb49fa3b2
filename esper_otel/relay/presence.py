"""Published addresses of a relay: the run's ``run.json``, and the targets file that Prometheus reads."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk.resources import Resource

from esper_otel.log import manifest
from esper_otel.log.layout import relay_directory
from esper_otel.log.locks.processes import process_start
from esper_otel.relay.console import say, say_once
from esper_otel.relay.options import ALL, ALL_LOGS, LogOptions, Subject
from esper_otel.relay.otlp.exporters import Exporters
from esper_otel.relay.prometheus.endpoint import Endpoint
from esper_otel.relay.prometheus.targets import WILDCARDS, Target, announce, keep, target_of, withdraw

KEEP_S: Final = 5.0
"""Time between two looks at whether others still find this relay."""


class Presence:
    """The entries of one relay. Write errors are reported and ignored."""

    def __init__(
        self,
        subject: Subject,
        resource: Resource,
        *,
        is_first: bool = True,
        logs: LogOptions = ALL_LOGS,
        metrics: str = ALL,
    ) -> None:
        """Nothing is written yet.

        ``is_first``: whether it is the relay of rank 0, where every node has one. ``logs``: what log events it sends.
        ``metrics``: whether it exports all metrics or their summary.
        """
        self._logs = logs
        self._metrics = metrics
        self._entry = relay_directory(of_node=not is_first)
        self._subject = subject
        self._job = str(resource.attributes["service.name"])
        self._instance = str(resource.attributes["service.instance.id"])
        self._announced: Target | None = None
        self._relay: dict[str, Any] = {}
        self._kept_at = time.monotonic()

    def announce(self, endpoint: Endpoint | None, exporters: Exporters) -> None:
        """Report the address that the relay serves, and record it with those that it sends to."""
        if endpoint is not None:
            everywhere = ", and at that port of all addresses of this machine" if endpoint.host in WILDCARDS else ""
            say(f"metrics of run {self._subject.run_id} at {endpoint.url}{everywhere}")
        else:
            say("metrics are not served: OTEL_METRICS_EXPORTER does not name prometheus")
        if self._metrics != ALL:
            say("ranks and environments are exported as their summary, but for what alerts need; the log has the rest")
        if not exporters.active:
            say(exporters.describe())
        self._relay = {
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
            "host": socket.gethostname(),
            "prometheus_url": endpoint.url if endpoint else None,
            "otlp_endpoint": next((exporter.endpoint for exporter in exporters.active), None),
            **({"otlp_logs": self._logs.label} if self._logs.label else {}),
            **({"metrics": self._metrics} if self._metrics != ALL else {}),
        }
        self._update_manifest(self._relay)
        directory = self._subject.targets_directory
        if directory is not None and endpoint is not None:
            # The labels are those that the OTLP path gives: one alert, whichever way its metric came.
            target = target_of(
                endpoint.host, endpoint.port, job=self._job, instance=self._instance, run=self._subject.run_id
            )
            self._announced = target
            _try("prometheus_targets.json", lambda: announce(directory, target))

    def keep(self) -> None:
        """Announce the relay again where a cleaner or another relay, which has ended, took its entries away."""
        now = time.monotonic()
        if not self._relay or now - self._kept_at < KEEP_S:
            return
        self._kept_at = now
        directory, target = self._subject.targets_directory, self._announced
        if directory is not None and target is not None and directory.exists():
            _try("prometheus_targets.json", lambda: keep(directory, target))
        self._keep_in_manifest()

    def _keep_in_manifest(self) -> None:
        directory = self._subject.directory
        if directory is None:
            return
        try:
            content = manifest.read(directory)
        except (OSError, ValueError):
            return
        entry = content.get(self._entry)
        other = entry if isinstance(entry, dict) else {}
        is_here, pid, start = other.get("host") == self._relay["host"], other.get("pid", 0), other.get("pid_start")
        lives = is_here and (pid == os.getpid() or ("delivered" not in other and process_start(pid) == start))
        if content and not lives:  # where the file is gone, the trainer makes it anew
            self._update_manifest(self._relay)

    def record_end(self, status: str, at_ns: int, session: manifest.Session | None) -> None:
        """Record the end of the run if the training process could not; ``at_ns`` is Unix time.

        ``session``: the one that ended; the word of a newer one stands.
        """
        directory = self._subject.directory
        if directory is None or not self._subject.is_ours or session is None:
            return
        ended_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns / 1e9))
        _try("run.json", lambda: manifest.record_end(directory, session, status=status, ended_at=ended_at))

    def record_following(self) -> None:
        """Record that the relay follows the run again, which resets the state of its delivery."""
        self._update_manifest(self._relay)

    def record_delivery(self, *, is_complete: bool, is_stopped: bool) -> None:
        """Record for the trainer whether everything was delivered, and whether a signal ended the relay."""
        self._update_manifest({**self._relay, "delivered": is_complete, "stopped": is_stopped})

    def withdraw(self) -> None:
        """Remove this relay's entry from the targets file, if there is one."""
        directory, target = self._subject.targets_directory, self._announced
        if directory is not None and target is not None:
            _try("prometheus_targets.json", lambda: withdraw(directory, target))

    def _update_manifest(self, relay: dict[str, Any]) -> None:
        directory = self._subject.directory
        if directory is not None and self._subject.is_ours:
            _try("run.json", lambda: manifest.update(directory, **{self._entry: relay}))


def _try(name: str, change: Callable[[], object]) -> None:
    try:
        change()
    except (OSError, ValueError) as error:
        say_once(f"{name} {error}", f"{name} could not be written: {error}")
