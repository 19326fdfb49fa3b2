"""The public API as a user's code sees it. mypy checks this file, strictly and against the installed package.

A line with ``type: ignore`` must be refused: mypy reports an ignore that nothing needs.
"""

from pathlib import Path
from typing import Annotated, Any, assert_type

import esper_otel
from esper_otel.events import EVENT_TYPES, Domain, Event, PolicyUpdate, RunEnded, Severity
from esper_otel.events.declare import counter, declares, gauge, note
from esper_otel.events.types import Real
from esper_otel.sensors import PhaseTimer, TrainingMonitor
from esper_otel.sql import connect, select
from esper_otel.testing import record_events


@declares("MINE", domain=Domain.TOLARIA, metrics=(counter("tolaria.mine", unit="{thing}", description="Things."),))
class Mine(Event, frozen=True, kw_only=True):
    """An event of the user's own."""

    size: Annotated[Real, note("Size.", gauge("tolaria.mine_size"))] = None


def record() -> None:
    """A run, from its start to its end."""
    telemetry = esper_otel.configure(telemetry_dir=Path("telemetry"), run_id="mine", relay=False, compress=True)
    assert_type(telemetry, esper_otel.Telemetry)
    assert_type(telemetry.counters, dict[str, int])
    assert_type(telemetry.relay_pid, int | None)
    esper_otel.emit(PolicyUpdate(policy_loss=0.5, head_kl={"op": 0.1}), severity=Severity.WARNING, message="late")
    esper_otel.emit(Mine(size=1.0))
    assert_type(esper_otel.should_stop(), bool)
    esper_otel.shutdown("failed", detail="out of memory", rounds=3)


def refused() -> None:
    """What the types rule out."""
    PolicyUpdate(policy_loss="x")  # type: ignore[arg-type]
    PolicyUpdate(loss=0.5)  # type: ignore[call-arg]
    PolicyUpdate(1)  # type: ignore[call-arg]
    PolicyUpdate().policy_loss = 0.5  # type: ignore[misc]
    Mine(size="large")  # type: ignore[arg-type]
    esper_otel.emit({"policy_loss": 0.5})  # type: ignore[arg-type]
    esper_otel.configure(telemetry_dir=3)  # type: ignore[arg-type]
    esper_otel.shutdown("over")  # type: ignore[arg-type]


def train(model: Any, optimizer: Any, batch: Any) -> None:
    """A training loop with sensors; torch's own types are not at hand here."""
    with TrainingMonitor(model, optimizer, emit=esper_otel.emit, every=10) as monitor:
        with monitor.phase("forward"):
            model(batch)
        monitor.step()
    PhaseTimer(every="often")  # type: ignore[call-arg]


def ask() -> None:
    """A query, and a test."""
    with connect(["telemetry/latest"]) as runs:
        select(runs, "SELECT 1")
    with record_events() as run:
        record()
    assert_type(run.of(PolicyUpdate), list[PolicyUpdate])
    assert_type(run.one(Mine).size, float | None)
    assert_type(run.ended, RunEnded | None)
    assert_type(EVENT_TYPES, dict[str, type[Event]])
