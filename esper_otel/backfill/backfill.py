"""Conversion of a finished run to the samples that a Prometheus would have scraped during the run.

Events update the same metric state as in a relay; between them, at every step of the run's own time, the state is
collected and translated by the code that serves a scrape.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from prometheus_client.core import InfoMetricFamily

from esper_otel.backfill.openmetrics import TextSpool
from esper_otel.backfill.order import lines_in_order
from esper_otel.log import manifest
from esper_otel.log.envelope import BadLine, Record, told_losses
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.options import Options, Subject, resource_defaults, subject_of
from esper_otel.relay.otlp.exporters import resource_from_env
from esper_otel.relay.prometheus.exposition import to_prometheus
from esper_otel.signals import own
from esper_otel.signals.names import prometheus_label

NS_PER_MS: Final = 1_000_000
LONGEST_GAP_MS: Final = 3_600_000
"""Gap without events in which no scrapes are written: a run resumed the next day, or a wrong clock."""

OF_THE_RELAY: Final = {"host.name", "process.pid"}
"""Resource attributes that only a live relay has."""


class Backfilled(msgspec.Struct, frozen=True):
    """Summary of the output: Unix times of the first and last scrape in ms, and counts.

    ``lost`` counts the stretches of the log that gave no event, by reason.
    """

    first_ms: int
    last_ms: int
    scrapes: int
    series: int
    samples: int
    lost: dict[str, int]


class EmptyRunError(ValueError):
    """The log contains no event."""


def backfill(
    run: Path,
    out: BinaryIO,
    *,
    step_ms: int,
    run_id: str | None,
    spool_directory: Path,
    tell: Callable[[str], object] = lambda _: None,
) -> Backfilled:
    """Write ``run`` to ``out`` as OpenMetrics text with a scrape every ``step_ms``, the last one at its last event.

    Memory does not grow with the run: samples wait in a temporary file in ``spool_directory``. ``tell`` is told why
    ``run.json`` cannot be read.

    Raises:
        FileNotFoundError: there is no log.
        EmptyRunError: it contains no event.
        OSError: ``out`` or the temporary file cannot be written.
    """
    subject = subject_of(Options(run=run, run_id=run_id))
    resource = _resource(subject, tell)
    labels = {"job": resource["service.name"], "instance": resource["service.instance.id"]}
    with TextSpool(spool_directory, labels) as spool:
        scrapes = _Scrapes(spool, resource)
        _replay(run, scrapes, step_ms)
        if not scrapes.count:
            losses = f"; {told_losses(scrapes.lost)}" if scrapes.lost else ""
            raise EmptyRunError(f"{run} contains no event: nothing to backfill{losses}")
        spool.write(out)
        return Backfilled(
            scrapes.first_ms, scrapes.last_ms, scrapes.count, spool.series, spool.samples, dict(scrapes.lost)
        )


def _resource(subject: Subject, tell: Callable[[str], object]) -> dict[str, str]:
    """Resource attributes of the run's relay, as far as they are known."""
    defaults = resource_defaults(subject.run_id, directory=subject.directory)
    found = {name: str(value) for name, value in defaults.items() if name not in OF_THE_RELAY}
    if subject.is_ours and subject.directory is not None:
        host = manifest.read_or_tell(subject.directory, tell).get("host")
        found |= {"host.name": str(host)} if host else {}
    return {name: str(value) for name, value in resource_from_env(found).attributes.items()}


class _Scrapes:
    """State of the run and the scrapes taken from it."""

    def __init__(self, spool: TextSpool, resource: dict[str, str]) -> None:
        self.first_ms = 0
        self.last_ms = 0
        self.count = 0
        self.lost: Counter[str] = Counter()
        self._spool = spool
        self._info = InfoMetricFamily(
            "target",
            "Resource attributes of the run.",
            {prometheus_label(name): value for name, value in resource.items()},
        )
        self._state = MetricState()
        self._ingest = Ingest(tells_losses=False)
        self._liveness = Liveness(None, stall_after_s=math.inf)

    def feed(self, item: Record | BadLine) -> None:
        """Apply one line."""
        if isinstance(item, BadLine):
            self.lost[item.reason] += 1
        line = self._ingest.take(item)
        account(self._state, line)
        self._liveness.observe(line)

    def take(self, time_ms: int) -> None:
        """Scrape as of ``time_ms``; does nothing before the first event."""
        if not self._state.started_ns:
            return
        self._state.own[own.RUN_STATUS.name] = self._liveness.points()
        self._state.own[own.LAST_RECORD.name] = {(): self._state.last_ns / 1e9}
        self._spool.add(self._info, 1, time_ms)
        for family in self._state.collect(time_ms * NS_PER_MS):
            self._spool.add(to_prometheus(family), len(family.points), time_ms)
        self.first_ms = self.first_ms or time_ms
        self.last_ms = time_ms
        self.count += 1

    def end(self, time_ms: int) -> None:
        """Take the last scrape."""
        self._liveness.close()
        self.take(time_ms)


def _replay(run: Path, scrapes: _Scrapes, step_ms: int) -> None:
    """Take the scrapes that are due before an event at the given time."""
    next_ms = now_ms = 0
    for at_ns, item in lines_in_order(run):
        now_ms = -(-at_ns // NS_PER_MS)
        next_ms = next_ms or now_ms
        while now_ms > next_ms:
            scrapes.take(next_ms)
            steps = 1 if now_ms - next_ms <= LONGEST_GAP_MS else (now_ms - next_ms) // step_ms
            next_ms += max(steps, 1) * step_ms
        scrapes.feed(item)
    scrapes.end(now_ms)
