"""``ESPER_OTEL_LOGS``: of log events only warnings, those of the run and whole rounds are sent; the rest is counted."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

import esper_otel
from esper_otel.events import (
    BatchCompleted,
    CheckpointSaved,
    EpisodeOutcome,
    EpochCompleted,
    Event,
    GradientStats,
    Heartbeat,
    LogEventsReduced,
    PolicyUpdate,
    RoundStarted,
    TrainingStarted,
    TrainingUpdate,
    UpdateSkipped,
)
from esper_otel.relay.options import LogOptions
from esper_otel.relay.otlp.log_choice import LogChoice, log_options
from esper_otel.relay.traces import TraceProjector
from esper_otel.runtime.relay_environment import checked_environment
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.processes import announced_url, lines_of, manifest, relay, samples, scrape
from tests.relay.projected import record
from tests.tools import python_environment
from tests.waiting import PATIENCE_S, wait_for

OF_THE_RUN = {"TRAINING_STARTED", "CHECKPOINT_SAVED", "RUN_ENDED"}
ANNOUNCEMENT = "LOG_EVENTS_REDUCED"
IN_ROUND = Counter(SIMIC_ROUND_STARTED=1, TOLARIA_EPOCH_COMPLETED=3, TAMIYO_POLICY_UPDATE=1, TOLARIA_BATCH_COMPLETED=1)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def begin(directory: Path, rank: int = 0, ranks: int = 1) -> Path:
    telemetry = esper_otel.configure(
        telemetry_dir=directory, run_id="run", rank=rank, world_size=ranks, relay=False, segment_bytes=8_000
    )
    esper_otel.emit(TrainingStarted(task="test", n_envs=1))
    return telemetry.run_dir


def train(rounds: range) -> None:
    """Rounds; one update was skipped in round 7, and a checkpoint saved in round 8."""
    for number in rounds:
        esper_otel.emit(RoundStarted(batch=number))
        for epoch in range(1, 4):
            esper_otel.emit(EpochCompleted(env_id=0, episode_idx=number, inner_epoch=epoch))
        if number == 7:
            esper_otel.emit(UpdateSkipped(reason="nonfinite_loss", batch=number))
        if number == 8:
            esper_otel.emit(CheckpointSaved(path="model.pt"))
        esper_otel.emit(PolicyUpdate(batch=number, ppo_update_idx=1))
        esper_otel.emit(BatchCompleted(batch_idx=number))


def recorded(directory: Path, *, rounds: int = 25, ranks: int = 1) -> Path:
    for rank in range(ranks):
        run = begin(directory, rank, ranks)
        train(range(1, rounds + 1))
        esper_otel.shutdown()
    return run


def environment(receiver: OtlpReceiver, logs: str, every: int = 10) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint,
        "ESPER_OTEL_LOGS": logs,
        "ESPER_OTEL_LOGS_EVERY": str(every),
    }


def delivered(run: Path, receiver: OtlpReceiver, *options: str, **env: str) -> str:
    """Console output of a relay that delivers a whole run."""
    with relay(run, "--linger", "0", *options, **env) as process:
        _, said = process.communicate(timeout=PATIENCE_S)
    assert 0 == process.returncode, said
    return said


def arrived(receiver: OtlpReceiver) -> dict[str, dict[str, Any]]:
    """Attributes of every log event by event id; one that came twice counts once."""
    return {found["esper.event.id"]: found for found in map(attributes, receiver.logs)}


def types(receiver: OtlpReceiver) -> Counter[str]:
    return Counter(found["esper.event.type"] for found in arrived(receiver).values())


def whole_rounds(receiver: OtlpReceiver, rank: int = 0) -> list[int]:
    """Rounds of a rank whose events all arrived."""
    by_trace: dict[bytes, dict[str, str]] = {}
    rounds: dict[bytes, int] = {}
    for log in receiver.logs:
        found = attributes(log)
        if found.get("esper.rank", 0) != rank:
            continue
        by_trace.setdefault(log.trace_id, {})[found["esper.event.id"]] = found["esper.event.type"]
        if found["esper.event.type"] == "TOLARIA_BATCH_COMPLETED":
            rounds[log.trace_id] = found["tolaria.batch_idx"]
    return sorted(number for trace, number in rounds.items() if IN_ROUND <= Counter(by_trace[trace].values()))


def left_out(text: str) -> float:
    return samples(text).get(("esper_relay_left_out_total", (("signal", "logs"),)), -1.0)


def exported(text: str) -> float:
    return samples(text).get(("esper_relay_exported_total", (("signal", "logs"),)), -1.0)


def test_with_warnings_only_these_and_events_of_the_run_arrive_and_traces_and_metrics_are_whole(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    run = recorded(tmp_path)

    said = delivered(run, receiver, **environment(receiver, "warnings"))

    assert {*OF_THE_RUN, ANNOUNCEMENT, "TAMIYO_UPDATE_SKIPPED"} == set(types(receiver))
    assert 25 == sum(span.name == "simic.round" for span in receiver.spans)
    [batches] = {
        point.as_int or point.as_double
        for metric in receiver.metrics[-500:]
        if metric.name == "tolaria.batches"
        for point in metric.sum.data_points
        if point.as_int or point.as_double
    }
    assert 25 == batches
    assert "log events of warnings, of the run itself are sent; the event log has the rest" in said


def test_sampled_adds_the_first_round_and_every_nth_whole(tmp_path: Path, receiver: OtlpReceiver) -> None:
    run = recorded(tmp_path)

    delivered(run, receiver, **environment(receiver, "sampled"))

    assert [1, 10, 20] == whole_rounds(receiver)
    assert 3 == types(receiver)["TOLARIA_BATCH_COMPLETED"]
    assert OF_THE_RUN <= set(types(receiver))
    assert 1 == types(receiver)["TAMIYO_UPDATE_SKIPPED"]


def test_all_is_the_default_and_says_nothing_of_what_is_left_out(tmp_path: Path, receiver: OtlpReceiver) -> None:
    run = recorded(tmp_path, rounds=3)

    delivered(run, receiver, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)

    assert {line["event_id"] for line in lines_of(run)} == set(arrived(receiver))
    assert all("esper.logs.kept" not in resource for resource in receiver.resources)
    assert "otlp_logs" not in manifest(run)["relay"]


def test_the_option_counts_before_the_variable(tmp_path: Path, receiver: OtlpReceiver) -> None:
    run = recorded(tmp_path)

    delivered(run, receiver, "--logs", "sampled", "--logs-every", "5", **environment(receiver, "warnings", every=10))

    assert [1, 5, 10, 15, 20, 25] == whole_rounds(receiver)


def test_two_ranks_send_the_same_rounds(tmp_path: Path, receiver: OtlpReceiver) -> None:
    run = recorded(tmp_path, ranks=2)

    delivered(run, receiver, **environment(receiver, "sampled"))

    assert [1, 10, 20] == whole_rounds(receiver, rank=0) == whole_rounds(receiver, rank=1)


def test_the_stream_says_once_that_it_is_sampled_and_its_command_shows_the_rest(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    run = recorded(tmp_path)

    delivered(run, receiver, **environment(receiver, "sampled"))
    delivered(run, receiver, "--from-start", **environment(receiver, "sampled"))

    of_logs = [each for signal, request in receiver.requests if signal == "logs" for each in request.resource_logs]
    others = [each for signal, request in receiver.requests if signal == "traces" for each in request.resource_spans]
    assert {"sampled/10"} == {attributes(each.resource)["esper.logs.kept"] for each in of_logs}
    assert {None} == {attributes(each.resource).get("esper.logs.kept") for each in others}
    announced = [attributes(log) for log in receiver.logs if log.event_name == "esper.log_events_reduced"]
    assert [("sampled", 10)] * 2 == [(each["esper.kept"], each["esper.every"]) for each in announced]
    assert 1 == types(receiver)[ANNOUNCEMENT]  # the second one, of a relay from the start, has the same id
    command = shlex.split(announced[0]["esper.command"])
    assert ["esper-otel", "sql", str(run)] == command[:3]
    code = "import sys; sys.argv[0] = 'esper-otel'; from esper_otel.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *command[1:], "--format", "json"],
        env=python_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    quiet = Counter(line["event_type"] for line in lines_of(run) if line["severity"] in {"debug", "info"})
    assert quiet == Counter(row["event_type"] for row in json.loads(done.stdout))


def test_a_relay_killed_in_the_middle_and_its_successor_choose_the_same_rounds_and_count_each_event_once(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    run = begin(tmp_path)
    variables = environment(receiver, "sampled")
    train(range(1, 36))
    with relay(run, "--follow", **variables) as first:
        wait_for(lambda: [1, 10, 20, 30] == whole_rounds(receiver), "four rounds")
        wait_for((run / "relay" / "logs.json").exists, "a stored position")
        first.kill()
    train(range(36, 61))
    esper_otel.shutdown()

    with relay(run, "--follow", "--linger", "600", **variables) as second:
        url = announced_url(run, second.pid)
        wait_for(lambda: "RUN_ENDED" in types(receiver), "the end of the run")
        events = len(lines_of(run))
        counted = wait_for(lambda: events + 1 == len(arrived(receiver)) + left_out(scrape(url)) and scrape(url), "all")
        found = samples(counted)
        second.terminate()
        second.communicate(timeout=PATIENCE_S)

    assert [1, 10, 20, 30, 40, 50, 60] == whole_rounds(receiver)
    assert 1 == types(receiver)[ANNOUNCEMENT]
    assert 0.0 == found["esper_relay_undelivered_bytes", (("signal", "logs"),)]
    assert 0.0 == found["esper_relay_refused_total", (("signal", "logs"),)]


def test_what_was_sent_and_what_was_left_out_add_up_to_the_log(tmp_path: Path, receiver: OtlpReceiver) -> None:
    run = recorded(tmp_path)
    with relay(run, "--linger", "600", **environment(receiver, "sampled")) as process:
        url = announced_url(run, process.pid)
        text = wait_for(lambda: exported(scrape(url)) > 0.0 and scrape(url), "the delivery")
        assert "sampled/10" == manifest(run)["relay"]["otlp_logs"]
        process.terminate()
        process.communicate(timeout=PATIENCE_S)

    assert len(arrived(receiver)) == exported(text)
    assert len(lines_of(run)) + 1 == exported(text) + left_out(text)  # and the announcement


def test_events_that_are_left_out_wait_for_no_endpoint(tmp_path: Path, receiver: OtlpReceiver) -> None:
    run = begin(tmp_path)
    with relay(run, "--follow", **environment(receiver, "warnings")) as process:
        url = announced_url(run, process.pid)
        wait_for(lambda: ANNOUNCEMENT in types(receiver), "the beginning")
        receiver.mode = "unavailable"
        train(range(1, 5))
        signal = (("signal", "logs"),)
        wait_for(lambda: left_out(scrape(url)) >= 4 * 6, "what is left out")
        wait_for(lambda: samples(scrape(url))["esper_relay_undelivered_bytes", signal] == 0.0, "nothing waits")
        receiver.mode = "ok"
        esper_otel.shutdown()
        process.communicate(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        (("--logs", "some"), {}, "--logs (ESPER_OTEL_LOGS): expected all, warnings or sampled, not 'some'"),
        ((), {"ESPER_OTEL_LOGS": "none"}, "--logs (ESPER_OTEL_LOGS): expected all, warnings or sampled, not 'none'"),
        (
            (),
            {"ESPER_OTEL_LOGS": "sampled", "ESPER_OTEL_LOGS_EVERY": "0"},
            "--logs-every (ESPER_OTEL_LOGS_EVERY): expected a whole number from 1 to 1000000000, not '0'",
        ),
    ],
)
def test_a_wrong_value_ends_a_relay_with_one_error(
    tmp_path: Path, options: tuple[str, ...], variables: dict[str, str], expected: str
) -> None:
    with relay(tmp_path, *options, **variables) as process:
        _, said = process.communicate(timeout=PATIENCE_S)

    assert 2 == process.returncode
    assert [f"esper-otel relay: {expected}"] == said.splitlines()


@pytest.mark.parametrize("text", ["ten", "1.5", "-3", "", "99999999999"])
def test_the_number_of_rounds_is_a_whole_number(text: str) -> None:
    variables = {"ESPER_OTEL_LOGS": "sampled", "ESPER_OTEL_LOGS_EVERY": text}
    if not text:
        assert LogOptions(kept="sampled", every=100) == log_options(environment=variables)
        return
    with pytest.raises(ValueError, match=r"ESPER_OTEL_LOGS_EVERY.*expected a whole number"):
        log_options(environment=variables)


def test_a_wrong_variable_of_a_training_process_is_named_and_does_not_reach_its_relay() -> None:
    kept, problems = checked_environment({"ESPER_OTEL_LOGS": "some", "ESPER_OTEL_LOGS_EVERY": "0"})

    assert {} == kept
    assert [
        "ESPER_OTEL_LOGS='some' must be one of all, warnings, sampled. All log events are sent.",
        "ESPER_OTEL_LOGS_EVERY='0' must be a whole number from 1 to 1000000000. 100 applies.",
    ] == problems


class Log:
    """Events of one log in order, and which of them are sent."""

    def __init__(self, every: int = 10) -> None:
        self.projector = TraceProjector("run", Resource({}))
        self.choice = LogChoice(LogOptions(kept="sampled", every=every))
        self.at_s = 0.0

    def sends(self, event: Event) -> bool:
        self.at_s += 1.0
        taken = record(self.at_s, event)
        self.projector.feed(taken, (event,))
        return self.choice.keeps(taken, (event,), self.projector.lane(taken))


def test_a_loop_without_rounds_is_sampled_by_its_updates_and_what_lies_between_them() -> None:
    log = Log()
    sent = []
    for number in range(1, 31):
        update, beat = log.sends(TrainingUpdate(update=number, loss=1.0)), log.sends(Heartbeat(uptime_s=1.0))
        assert update == beat
        sent += [number] if update else []

    assert [1, 10, 20, 30] == sent


def test_an_event_that_comes_late_is_chosen_by_its_own_step() -> None:
    log = Log()
    log.sends(TrainingUpdate(update=11, loss=1.0))

    assert log.sends(GradientStats(step=10, norm=1.0))
    assert not log.sends(GradientStats(step=11, norm=1.0))


def test_updates_without_a_number_are_counted() -> None:
    log = Log()

    assert [1, 10, 20] == [number for number in range(1, 25) if log.sends(TrainingUpdate(loss=1.0))]


def test_updates_of_a_program_with_rounds_are_sent_with_their_round() -> None:
    log = Log()
    sent = []
    for number in range(1, 21):
        log.sends(RoundStarted(batch=number))
        inside = [log.sends(TrainingUpdate(update=3 * number + part, loss=1.0)) for part in range(3)]
        assert {log.sends(BatchCompleted(batch_idx=number))} == set(inside)
        sent += [number] if all(inside) else []

    assert [1, 10, 20] == sent


def test_episodes_that_no_batch_ends_are_sampled_by_policy_updates() -> None:
    log = Log()
    sent = []
    for number in range(1, 21):
        log.sends(PolicyUpdate(policy_loss=1.0))
        sent += [number] if log.sends(EpisodeOutcome(env_id=0, episode_reward=1.0)) else []

    assert [1, 10, 20] == sent


def test_the_choice_goes_on_from_what_was_stored_and_a_new_one_is_announced() -> None:
    log = Log()
    log.sends(TrainingUpdate(update=9, loss=1.0))
    first = log.choice.announcement()
    stored = json.loads(json.dumps(log.choice.snapshot()))

    log.choice = LogChoice(LogOptions(kept="sampled", every=10))
    log.choice.restore(stored)
    again = log.choice.announcement()
    assert log.sends(TrainingUpdate(loss=1.0))
    changed = LogChoice(LogOptions(kept="warnings"))
    changed.restore(stored)

    assert isinstance(first, LogEventsReduced)
    assert again is None
    assert isinstance(changed.announcement(), LogEventsReduced)
    assert 1 == log.choice.left_out


def test_doctor_shows_the_choice_and_a_wrong_one(tmp_path: Path) -> None:
    code = "import sys; sys.argv[0] = 'esper-otel'; from esper_otel.cli import main; main()"

    def lines(**variables: str) -> list[str]:
        command = [sys.executable, "-c", code, "doctor", str(tmp_path)]
        done = subprocess.run(
            command, env=python_environment(**variables), capture_output=True, text=True, timeout=PATIENCE_S
        )
        return [line for line in done.stdout.splitlines() if "log events" in line]

    assert [] == lines()
    [chosen] = lines(ESPER_OTEL_LOGS="sampled", ESPER_OTEL_LOGS_EVERY="50")
    assert "sampled/50: log events of warnings, of the run itself and of all events of round 1" in chosen
    [wrong] = lines(ESPER_OTEL_LOGS="few")
    assert wrong.startswith("BAD")
    assert "expected all, warnings or sampled, not 'few'" in wrong
