"""A delivery that is told to stop, wherever it is: its stored position never lies behind what was not sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from esper_otel.events import BatchCompleted
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.otlp import delivery as module
from esper_otel.relay.otlp.attempts import SignalExporter
from esper_otel.relay.otlp.exporters import Exporters
from esper_otel.relay.otlp.pipeline import LogDelivery
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.waiting import PATIENCE_S

LINES = 60
TAKEN = 10
READS = LINES // TAKEN


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def endpoint(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    monkeypatch.setattr(module, "BATCH", TAKEN)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    encoder = LineEncoder("run", 0)
    with (path / "events.jsonl").open("wb") as log:
        for number in range(1, LINES + 1):
            event = BatchCompleted(episodes_completed=number, batch_idx=number)
            log.write(encoder.encode(event, Envelope(number, "g", None, None, number))[0])
    return path


class Delivery:
    """A pipeline on the run, with the state that the one before it left."""

    def __init__(self, run: Path) -> None:
        resource = Resource({"service.name": "esper"})
        self._directory = StateDirectory(run / "relay")
        exporter = Exporters.from_env(resource).logs
        assert exporter is not None
        self.pipeline = LogDelivery(
            run, run_id="run", resource=resource, exporter=exporter, follow=True, directory=self._directory
        )

    def end(self, timeout_s: float = 20.0, *, is_over: bool = True) -> bool:
        """Stop it; whether everything was delivered."""
        self.pipeline.drain(is_over=is_over)
        done = self.pipeline.finish(timeout_s)
        self._directory.close()
        return done

    def end_when_read(self, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stop it after it has taken lines ``times`` times, before it goes on with the last of them."""
        read, stop_exporter, left = self.pipeline.feed.read, SignalExporter.stop, times
        is_told = threading.Event()
        stopping = threading.Thread(target=self.end, args=(0.0,), kwargs={"is_over": False})

        def read_and_stop(limit: int) -> list[Ingested]:
            nonlocal left
            lines, left = read(limit), left - 1
            if left == 0:
                stopping.start()
                assert is_told.wait(PATIENCE_S)
            return lines

        def stop_and_say(exporter: SignalExporter) -> None:
            is_told.set()  # this comes right after the pipeline was told
            stop_exporter(exporter)

        with monkeypatch.context() as patch:
            patch.setattr(self.pipeline.feed, "read", read_and_stop)
            patch.setattr(SignalExporter, "stop", stop_and_say)
            self.pipeline.start()
            assert is_told.wait(PATIENCE_S)
            stopping.join()


def numbers_in(receiver: OtlpReceiver) -> list[int]:
    return [int(str(attributes(log)["esper.event.id"]).rsplit("-", 1)[1]) for log in receiver.logs]


@pytest.mark.parametrize("stores_at_once", [True, False], ids=["stored at each delivery", "stored now and then"])
@pytest.mark.parametrize("times", range(1, READS + 2))
def test_what_was_taken_and_not_sent_when_it_stopped_is_sent_by_the_next_one(
    run: Path, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, times: int, stores_at_once: bool
) -> None:
    monkeypatch.setattr(module, "STORE_S", 0.0 if stores_at_once else 60.0)
    Delivery(run).end_when_read(times, monkeypatch)
    before = len(receiver.logs)

    following = Delivery(run)
    following.pipeline.start()

    assert following.end()
    assert set(range(1, LINES + 1)) == set(numbers_in(receiver))
    assert before < LINES or times > READS


@pytest.mark.parametrize("mode", ["unavailable", "hang"])
def test_what_an_endpoint_did_not_take_before_the_stop_is_sent_by_the_next_one(
    run: Path, receiver: OtlpReceiver, mode: str
) -> None:
    receiver.mode = mode
    first = Delivery(run)
    first.pipeline.start()
    assert not first.end(timeout_s=0.5)

    receiver.mode = "ok"
    following = Delivery(run)
    following.pipeline.start()

    assert following.end()
    assert list(range(1, LINES + 1)) == sorted(numbers_in(receiver))
