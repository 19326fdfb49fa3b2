"""Traces, metrics and log events are delivered each for itself: a receiver that takes one gets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from esper_otel.relay.checkpoint import VERSION
from tests.otlp_receiver import Mode, OtlpReceiver, wait_for_events
from tests.relay.processes import lines_of, relay, training, wait_for
from tests.waiting import PATIENCE_S

SIGNALS = ("traces", "metrics", "logs")


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("telemetry")
    with training(directory, "--rounds", "6") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    return directory / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The run, with nothing of a relay's in it."""
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("run.json", "events.jsonl"):
        (copy / name).write_bytes((finished / name).read_bytes())
    return copy


def endpoint_of(receiver: OtlpReceiver, protocol: str) -> dict[str, str]:
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}


def arrived(receiver: OtlpReceiver) -> set[str]:
    return {signal for signal, _ in list(receiver.requests)}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("mode", ["missing", "unavailable", "hang"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_that_the_receiver_does_not_take_holds_up_no_other(
    run: Path, receiver: OtlpReceiver, signal: str, mode: Mode, protocol: str
) -> None:
    receiver.modes[signal] = mode
    others = set(SIGNALS) - {signal}
    with relay(run, "--linger", "0", "--drain", "8", **endpoint_of(receiver, protocol)) as sender:
        wait_for(lambda: others <= arrived(receiver), "the other signals")
        if "logs" in others:
            wait_for_events(receiver, lines_of(run))
        _, said = sender.communicate(timeout=PATIENCE_S)

    assert others == arrived(receiver)
    assert 3 == sender.returncode
    assert "did not accept everything" in said
    if mode == "missing" and signal != "metrics":
        assert f"OTEL_{signal.upper()}_EXPORTER=none turns them off" in said


def test_each_signal_goes_on_where_it_was(run: Path, receiver: OtlpReceiver) -> None:
    receiver.modes["logs"] = "unavailable"
    with relay(run, "--linger", "0", "--drain", "1", **endpoint_of(receiver, "http/protobuf")) as sender:
        sender.communicate(timeout=PATIENCE_S)
    spans, logs = len(receiver.spans), len(receiver.logs)
    receiver.modes.clear()
    with relay(run, "--linger", "0", **endpoint_of(receiver, "http/protobuf")) as sender:
        sender.communicate(timeout=PATIENCE_S)

    assert (3, 0) == (3, logs)
    assert 0 == sender.returncode
    assert 0 < spans == len(receiver.spans)
    assert len(lines_of(run)) == len(receiver.logs)


def test_the_common_position_of_an_older_version_becomes_that_of_each_signal(run: Path, receiver: OtlpReceiver) -> None:
    with relay(run, "--linger", "0", **endpoint_of(receiver, "http/protobuf")) as sender:
        sender.communicate(timeout=PATIENCE_S)
    state = run / "relay"
    (state / "logs.json").unlink()
    (state / "traces.json").rename(state / "delivery.json")
    before = len(receiver.spans), len(receiver.logs)
    with relay(run, "--linger", "0", **endpoint_of(receiver, "http/protobuf")) as sender:
        sender.communicate(timeout=PATIENCE_S)

    assert before == (len(receiver.spans), len(receiver.logs))
    assert not (state / "delivery.json").exists()
    assert {VERSION} == {json.loads((state / f"{name}.json").read_text())["version"] for name in ("traces", "logs")}

    (state / "traces.json").rename(state / "delivery.json")
    with relay(run, "--linger", "0", "--from-start", **endpoint_of(receiver, "http/protobuf")) as sender:
        sender.communicate(timeout=PATIENCE_S)
    assert (2 * before[0], 2 * before[1]) == (len(receiver.spans), len(receiver.logs))


@pytest.mark.parametrize("mode", ["refuse", "too_large"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_what_is_refused_for_good_is_said_and_in_the_exit_status(
    run: Path, receiver: OtlpReceiver, signal: str, mode: Mode
) -> None:
    receiver.modes[signal] = mode
    with relay(run, "--linger", "0", **endpoint_of(receiver, "http/protobuf")) as sender:
        _, said = sender.communicate(timeout=PATIENCE_S)

    status = {"refuse": 400, "too_large": 413}[mode]
    assert 3 == sender.returncode
    assert f"{signal} were permanently rejected: {receiver.http_endpoint}: HTTP status {status}" in said
    assert set(SIGNALS) - {signal} == arrived(receiver)
