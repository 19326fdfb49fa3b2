"""The evidence that moves a run from one state to another, rule by rule."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from esper_otel.events import Heartbeat, PolicyUpdate, RunEnded, TelemetryLoss
from esper_otel.events.declare import Event
from esper_otel.log import manifest
from esper_otel.log.envelope import Record
from esper_otel.log.layout import Series
from esper_otel.log.writer import Writer
from esper_otel.relay.gpu.sampler import NvmlSampler
from esper_otel.relay.ingest import Ingest, Ingested
from esper_otel.relay.lifecycle.burial import bury
from esper_otel.relay.liveness import GRACE_S, LOOK_S, RUNNING, STALLED, Liveness
from esper_otel.relay.metrics.pipeline import MetricsPipeline
from esper_otel.relay.own_metrics import OwnMetrics
from esper_otel.signals import own

MINUTE_NS = 60_000_000_000


def line(event: Event, at_ns: int = 0, rank: int = 0) -> Ingested:
    record = Record(event_id="", event_type=event.event_type, timestamp_ns=at_ns or time.time_ns(), rank=rank)
    return Ingested(record, (event,))


def watched(*events: Event) -> Liveness:
    liveness = Liveness(None, stall_after_s=300.0)
    for event in events:
        liveness.observe(line(event))
    return liveness


@pytest.mark.parametrize(
    "after", [Heartbeat(), PolicyUpdate(ppo_update_idx=1), TelemetryLoss(reason="buffer_full", count=1)]
)
def test_whatever_comes_after_the_end_voids_it(after: Event) -> None:
    ended = watched(PolicyUpdate(ppo_update_idx=1), RunEnded(outcome="finished"))
    assert ended.state == "finished"
    ended.observe(line(after))
    assert ended.state == RUNNING


def test_a_line_of_a_class_that_this_version_does_not_know_voids_the_end_as_well() -> None:
    ended = watched(RunEnded(outcome="finished"))
    record = Record(event_id="", event_type="NEW_IN_2027", timestamp_ns=time.time_ns())
    ended.observe(Ingested(record, reason="unknown_event_type"))
    assert ended.state == RUNNING


def test_a_run_that_has_sent_nothing_but_heartbeats_yet_is_running() -> None:
    assert watched(Heartbeat()).state == RUNNING
    assert watched().state == RUNNING


def test_a_run_is_stalled_by_the_time_between_its_own_lines_however_late_they_are_read() -> None:
    liveness = Liveness(None, stall_after_s=300.0)
    liveness.observe(line(PolicyUpdate(ppo_update_idx=1), at_ns=MINUTE_NS))
    liveness.observe(line(Heartbeat(), at_ns=11 * MINUTE_NS))
    assert liveness.state == STALLED
    liveness.observe(line(PolicyUpdate(ppo_update_idx=2), at_ns=12 * MINUTE_NS))
    assert liveness.state == RUNNING


def test_a_restarted_relay_knows_that_a_run_is_stalled() -> None:
    before = Liveness(None, stall_after_s=300.0)
    before.observe(line(PolicyUpdate(ppo_update_idx=1), at_ns=MINUTE_NS))
    before.observe(line(Heartbeat(), at_ns=11 * MINUTE_NS))
    after = Liveness(None, stall_after_s=300.0)
    after.restore(before.snapshot())
    assert after.state == STALLED
    after.observe(line(Heartbeat(), at_ns=12 * MINUTE_NS))
    assert after.state == STALLED


def test_an_end_is_recorded_for_the_session_that_ended_and_for_no_later_one(tmp_path: Path) -> None:
    first = manifest.session_of(manifest.update(tmp_path, pid=1, started_at="10:00", status="running"))
    manifest.record_end(tmp_path, first, status="died", ended_at="10:30")
    assert manifest.read(tmp_path)["status"] == "died"
    manifest.update(tmp_path, pid=2, started_at="11:00", status="running", ended_at=None)
    manifest.record_end(tmp_path, first, status="died", ended_at="10:30")
    assert manifest.read(tmp_path)["status"] == "running"


def test_the_lag_is_never_0_while_lines_are_unread(tmp_path: Path) -> None:
    ahead_ns = time.time_ns() + 60 * MINUTE_NS  # the clock of the trainer's machine
    writer = Writer(tmp_path, "run", heartbeat_s=0)
    writer.put((PolicyUpdate(ppo_update_idx=1), ahead_ns, "default", None, None))
    writer.close()
    liveness = Liveness(None, stall_after_s=300.0)
    metrics = MetricsPipeline(tmp_path, run_id="run", follow=True, directory=None, liveness=liveness)
    gpus = NvmlSampler(environ={}, own_pids=set, say=print, on_xid=print)
    own_metrics = OwnMetrics(metrics, liveness=liveness, gpus=gpus, pipelines={})

    def lag() -> float:
        own_metrics.refresh()
        return metrics.state.own[own.LAG.name][()]

    assert lag() > 0  # nothing was read yet
    metrics.step()
    assert lag() == 0
    writer = Writer(tmp_path, "run", heartbeat_s=0)
    writer.put((PolicyUpdate(ppo_update_idx=2), ahead_ns, "default", None, None))
    writer.close()
    before_s = lag()
    assert before_s > 0
    time.sleep(0.05)
    assert lag() >= before_s + 0.05  # it grows, though the newest line is from the future
    metrics.close()


def test_a_line_that_names_another_run_is_taken_as_one_of_the_run_in_whose_directory_it_stands() -> None:
    named = Record(event_id="victim-0-7", event_type="HEARTBEAT", timestamp_ns=1, run_id="victim", seq=7, data=b"{}")
    taken = Ingest(own_id="mine").take(named)
    assert taken.record is not None
    assert (taken.record.run_id, taken.record.event_id) == ("mine", "mine-0-7")
    assert Ingest().take(named).record == named


def ended_log(directory: Path) -> Series:
    """A log of one update with an end by its own process."""
    writer = Writer(directory, "run", 0, heartbeat_s=0.0)
    writer.put((PolicyUpdate(ppo_update_idx=1), time.time_ns(), "default", None, None))
    writer.close(RunEnded(outcome="finished"))
    return Series(directory, 0)


def test_a_process_whose_own_end_is_not_read_yet_is_not_called_dead(tmp_path: Path) -> None:
    series = ended_log(tmp_path)
    before = series.active.read_bytes()

    assert not bury(series, RunEnded(outcome="died"), "run", seen=1)
    assert series.active.read_bytes() == before


def test_a_process_that_wrote_on_after_an_end_that_was_read_is_called_dead(tmp_path: Path) -> None:
    series = ended_log(tmp_path)

    assert bury(series, RunEnded(outcome="died"), "run", seen=2)
    assert b'"died"' in series.active.read_bytes().splitlines()[-1]


def test_a_line_between_two_looks_at_a_free_lock_gives_its_process_the_whole_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    Writer(tmp_path, "run", 0, heartbeat_s=0.0).close()
    liveness = Liveness(tmp_path, stall_after_s=300.0)
    liveness.observe(line(PolicyUpdate(ppo_update_idx=1)))
    liveness.report_dead(lambda _: 0)
    now += GRACE_S + LOOK_S
    liveness.observe(line(PolicyUpdate(ppo_update_idx=2)))

    assert liveness.report_dead(lambda _: 0) == []
    now += GRACE_S + LOOK_S
    assert liveness.report_dead(lambda _: 0) == [0]
