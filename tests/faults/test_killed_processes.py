"""Trainers and relays that are killed at random moments, hundreds of times in the whole campaign."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.ledger import WHOLE, Figures, fault
from tests.faults.runs import KEPT_NS, delivered, ids_in, is_gone, lines_of, numbers_in, safe_step, types_in
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, events_by_type, manifest, process, relay, scrape, training
from tests.waiting import PATIENCE_S, wait_for

CHUNKS = range(40) if WHOLE else range(1)
TRAINER_KILLS = 25 if WHOLE else 2
RELAY_KILLS = 3 if WHOLE else 1
LIVES_OF_A_RELAY = 3
BOTH_KILLS = 3 if WHOLE else 1

EVENTS_PER_ROUND = 14
LATE_NS = 950_000_000
"""Slack for a machine whose cores and disk are all busy; runs that needed any of it are counted, ns."""


def exporting(receiver: OtlpReceiver) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
    }


def rounds_from(text: str) -> list[tuple[int, int]]:
    """What a training process printed: rounds and times, ns; a torn last line is left out."""
    lines = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [(int(line[0]), int(line[1])) for line in lines if len(line) == 2]


@fault(
    "trainer killed (SIGKILL) at a random moment, from its first millisecond on",
    holds="the log has no gap; OTLP gets each line once; the run is reported as died; the relay ends; what is lost is "
    "measured, not judged, up to 1 s",
)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_trainer_killed_at_any_moment_leaves_a_whole_log_that_is_delivered_once(
    tmp_path: Path, chunk: int, figures: Figures
) -> None:
    moments, late = random.Random(chunk), 0
    for number in range(TRAINER_KILLS):
        late += kill_a_trainer(tmp_path / str(number), moments.uniform(0.0, 1.5), figures)
    figures.counted = {"runs that lost events older than 50 ms": late}


def kill_a_trainer(directory: Path, after_s: float, figures: Figures) -> bool:
    """One run; whether an event that is missing was older than 50 ms."""
    directory.mkdir()
    run = directory / "run"
    with OtlpReceiver() as receiver:
        with training(directory, "--relay", "--pause", "0.002", **exporting(receiver)) as trainer:
            wait_for(run.exists, "the start of the run")
            time.sleep(after_s)
            killed_ns = time.time_ns()
            trainer.kill()
            rounds = rounds_from(trainer.communicate()[0])
        end_of_relay(run)
        if not (run / "events.jsonl").exists():  # killed before it had a log or a relay
            assert [] == rounds
            figures.add()
            return False
        found = types_in(run)["TOLARIA_BATCH_COMPLETED"]
        lines = lines_of(run)

        assert list(range(1, len(lines) + 1)) == numbers_in(run)
        assert found >= safe_step(rounds, killed_ns, LATE_NS)
        assert {*ids_in(run)} == {*delivered(receiver)}
        assert [] == [name for name, count in delivered(receiver).items() if count > 1]
        assert not lines or (lines[-1]["event_type"], lines[-1]["data"]["outcome"]) == ("RUN_ENDED", "died")
        assert not rounds or manifest(run)["status"] == "died"
    lost = [printed_ns for number, printed_ns in rounds if number > found]
    oldest_ms = (killed_ns - min(lost, default=killed_ns)) / 1e6
    figures.oldest_lost_ms = max(figures.oldest_lost_ms or 0.0, oldest_ms)
    figures.add(lost=len(lost) * EVENTS_PER_ROUND, recovered_s=(time.time_ns() - killed_ns) / 1e9)
    return oldest_ms * 1e6 > KEPT_NS


def end_of_relay(run: Path) -> None:
    """Wait until the relay that a killed trainer left behind has ended; a trainer may die before it starts one."""
    log = run / "relay" / "relay.log"
    appeared = time.monotonic() + 1.0
    while not log.exists() and time.monotonic() < appeared:
        time.sleep(0.02)
    if log.exists():
        wait_for(lambda: has_been_announced(run) or "Error" in log.read_text(), "the start of the relay")
        assert has_been_announced(run), log.read_text()
        wait_for(lambda: is_gone(run), "the end of the relay")


def has_been_announced(run: Path) -> bool:
    """Return True once a relay has the run: the file of its lock exists a moment before it is locked."""
    return "pid" in (manifest(run).get("relay") or {})


@fault(
    "relay killed (SIGKILL) three times in a run, at random moments",
    holds="the metrics of the last relay equal the log's counts exactly; OTLP gets every line, repeated ones with the "
    "same id",
)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_relay_killed_again_and_again_ends_with_the_counts_of_the_log(
    tmp_path: Path, chunk: int, figures: Figures
) -> None:
    moments, repeated = random.Random(1000 + chunk), 0
    for number in range(RELAY_KILLS):
        repeated += kill_relays(tmp_path / str(number), moments, figures)
    figures.counted = {"log events sent a second time, under the same esper.event.id": repeated}


def kill_relays(directory: Path, moments: random.Random, figures: Figures) -> int:
    """One run; how many log events arrived more than once."""
    directory.mkdir()
    run = directory / "run"
    with OtlpReceiver() as receiver:
        env = exporting(receiver)
        with training(directory, "--pause", "0.001", "--rounds", "150") as trainer:
            wait_for(run.exists, "the start of the run")
            for _ in range(LIVES_OF_A_RELAY):
                with relay(run, "--follow", **env) as victim:
                    time.sleep(moments.uniform(0.3, 2.5))
                    victim.kill()
            trainer.communicate(timeout=PATIENCE_S)
        started = time.monotonic()
        with relay(run, "--follow", "--linger", "300", **env) as survivor:
            url = announced_url(run, survivor.pid)
            expected = types_in(run)
            wait_for(lambda: events_by_type(scrape(url)) == expected, "the log's counts")
            wait_for(lambda: {*delivered(receiver)} == {*ids_in(run)}, "the delivery of the rest")
            figures.add(recovered_s=time.monotonic() - started)
            assert events_by_type(scrape(url)) == expected
            survivor.send_signal(signal.SIGTERM)
            survivor.communicate(timeout=PATIENCE_S)
        spans = {(span.trace_id, span.span_id) for span in receiver.spans if span.name == "simic.round"}
        assert len(spans) == expected["TOLARIA_BATCH_COMPLETED"]
        return sum(count - 1 for count in delivered(receiver).values())


@fault(
    "trainer and relay killed, in either order, and a relay started by hand",
    holds="the new relay finishes the run as died, with the log's counts and every line delivered, and ends",
)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_run_whose_trainer_and_relay_were_killed_is_finished_by_a_new_relay(
    tmp_path: Path, chunk: int, figures: Figures
) -> None:
    moments = random.Random(2000 + chunk)
    for number in range(BOTH_KILLS):
        kill_both(tmp_path / str(number), moments, figures)


def kill_both(directory: Path, moments: random.Random, figures: Figures) -> None:
    directory.mkdir()
    run = directory / "run"
    with OtlpReceiver() as receiver:
        env = exporting(receiver)
        with training(directory, "--relay", "--pause", "0.002", **env) as trainer:
            announced_url(run)
            time.sleep(moments.uniform(0.0, 1.5))
            victims = [trainer.pid, manifest(run)["relay"]["pid"]]
            moments.shuffle(victims)
            killed_ns = time.time_ns()
            for victim in victims:
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                time.sleep(moments.choice([0.0, 0.3, 1.5]))
            trainer.kill()
            rounds = rounds_from(trainer.communicate()[0])
        wait_for(lambda: is_gone(run), "the end of the relay")
        started = time.monotonic()
        with relay(run, "--follow", "--linger", "0", **env) as survivor:
            _, errors = survivor.communicate(timeout=PATIENCE_S)
        assert survivor.returncode == 0, errors
        assert types_in(run)["TOLARIA_BATCH_COMPLETED"] >= safe_step(rounds, killed_ns, LATE_NS)
        assert list(range(1, len(lines_of(run)) + 1)) == numbers_in(run)
        assert lines_of(run)[-1]["data"]["outcome"] == manifest(run)["status"] == "died"
        assert {*delivered(receiver)} == {*ids_in(run)}
        figures.add(recovered_s=time.monotonic() - started)


BEFORE_ITS_FIRST_EVENT = """
import os, signal, sys
import esper_otel
esper_otel.configure(telemetry_dir=sys.argv[1], run_id="run", relay=True, linger_s=0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@fault(
    "trainer killed before its first event is on disk",
    holds="the relay says in an otherwise empty log that the run died, and ends",
)
def test_a_run_killed_before_its_first_event_died_and_leaves_no_relay_behind(tmp_path: Path, figures: Figures) -> None:
    started = time.monotonic()
    with process("-c", BEFORE_ITS_FIRST_EVENT, str(tmp_path)) as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    run = tmp_path / "run"
    wait_for(lambda: manifest(run).get("status") == "died", "the report of the death")
    wait_for(lambda: is_gone(run), "the end of the relay")

    assert ["died"] == [line["data"]["outcome"] for line in lines_of(run)]
    figures.add(recovered_s=time.monotonic() - started)
