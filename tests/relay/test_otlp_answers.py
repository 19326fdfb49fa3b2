"""Answers of receivers and what is in front of them: what they mean for the items that were sent."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from esper_otel.relay.otlp.attempts import SignalExporter
from esper_otel.relay.otlp.exporters import Exporters
from esper_otel.relay.otlp.http import retry_after_s
from tests.faults.bad_endpoint import read_request
from tests.relay.processes import relay, training
from tests.relay.test_otlp import RESOURCE, log
from tests.waiting import PATIENCE_S, wait_for

PROTOBUF = "application/x-protobuf"


@contextmanager
def answering(status: int, body: bytes = b"", kind: str | None = PROTOBUF) -> Iterator[str]:
    """Address of a receiver that answers every request alike."""
    typed = "" if kind is None else f"Content-Type: {kind}\r\n"
    answer = f"HTTP/1.1 {status} X\r\n{typed}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                read_request(connection)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def exported(monkeypatch: pytest.MonkeyPatch, *answer: Any, items: int = 3) -> tuple[bool, SignalExporter]:
    """Return True if nothing is left to do for a batch with this answer, and its exporter."""
    with answering(*answer) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{endpoint}/v1/logs")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
        exporters = Exporters.from_env(RESOURCE)
        assert exporters.logs is not None
        delivered = exporters.logs.export([log() for _ in range(items)], 30.0)
        exporters.stop()
    return delivered, exporters.logs


def not_accepted(monkeypatch: pytest.MonkeyPatch, said: str, *answer: Any) -> SignalExporter:
    """The exporter of a batch that was not accepted for this reason; a slow machine may break an attempt off before."""

    def tried() -> SignalExporter | None:
        delivered, logs = exported(monkeypatch, *answer)
        assert not delivered
        return logs if said in logs.last_error else None

    found = wait_for(tried, said)
    assert found is not None
    return found


def dropped(count: int) -> ExportLogsServiceResponse:
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = count
    response.partial_success.error_message = "too old"
    return response


@pytest.mark.parametrize("status", [300, 302, 304, 307])
def test_an_answer_of_another_place_is_no_acceptance_even_without_an_address(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    logs = not_accepted(monkeypatch, "redirects elsewhere", status)

    assert (0, 0) == (logs.exported, logs.refused)


@pytest.mark.parametrize("kind", ["text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml", None, PROTOBUF])
def test_a_web_page_is_no_acceptance_whatever_it_calls_itself(
    monkeypatch: pytest.MonkeyPatch, kind: str | None
) -> None:
    page = b"\n<!DOCTYPE html><html>log in</html>"
    logs = not_accepted(monkeypatch, "a web page, not from an OTLP receiver", 200, page, kind)

    assert (0, 0) == (logs.exported, logs.refused)


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (dropped(1).SerializeToString(), PROTOBUF),
        (dropped(1).SerializeToString(), None),
        (b'{"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "too old", "new": 1}}', "application/json"),
    ],
)
def test_dropped_items_are_counted_in_every_form_of_an_answer(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, kind: str | None
) -> None:
    delivered, logs = exported(monkeypatch, status, body, kind)

    assert delivered
    assert (2, 1) == (logs.exported, logs.refused)
    assert "dropped 1 items: too old" in logs.last_error


@pytest.mark.parametrize(("said", "exported_items", "refused"), [(-5, 3, 0), (100, 0, 3), (0, 3, 0)])
def test_a_receiver_cannot_drop_more_or_fewer_items_than_it_was_sent(
    monkeypatch: pytest.MonkeyPatch, said: int, exported_items: int, refused: int
) -> None:
    delivered, logs = exported(monkeypatch, 200, dropped(said).SerializeToString())

    assert delivered
    assert (exported_items, refused) == (logs.exported, logs.refused)


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"ok", b"{]"])
def test_an_acceptance_that_cannot_be_read_is_one(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    delivered, logs = exported(monkeypatch, 200, body, "application/json" if body == b"{]" else PROTOBUF)

    assert delivered
    assert 3 == logs.exported


@dataclass
class UnwellAtFirst:
    """A receiver that gives its first ``unwell`` requests this answer, and accepts later ones after ``answer_after_s``.

    Attributes:
        arrived: when each request came, on the monotonic clock, in s.
        awaited: of each accepted request, whether the sender still waited for the answer.
    """

    first: bytes
    unwell: int = 1
    answer_after_s: float = 0.0
    arrived: list[float] = field(default_factory=list)
    awaited: list[bool] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        """Take one request."""
        with connection:
            if not read_request(connection):
                return
            self.arrived.append(time.monotonic())
            if len(self.arrived) <= self.unwell:
                connection.sendall(self.first)
                return
            gone = select.select([connection], [], [], self.answer_after_s)[0]
            self.awaited.append(not gone)
            if not gone:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Listen; the endpoint of log events."""

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=self.serve, args=(connection,)))
                threads[-1].start()

        threads = [threading.Thread(target=accept)]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threads[0].start()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/logs"
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


NOT_NOW = {
    "503": b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n",
    "429 with Retry-After": b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "a web page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "random bytes": bytes(range(256)),
    "a header that is too long": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("first", [pytest.param(answer, id=name) for name, answer in NOT_NOW.items()])
def test_every_request_has_the_whole_timeout(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """The official exporter sends again within its timeout, at once and after a second, with what is left of it."""
    receiver = UnwellAtFirst(first, unwell=2, answer_after_s=1.5)
    with receiver.listening() as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        exporters = Exporters.from_env(RESOURCE)
        logs, batch = exporters.logs, [log()]
        assert logs is not None
        wait_for(lambda: logs.export(batch, 30.0), "the delivery")
        exporters.stop()

    assert True in receiver.awaited
    assert False not in receiver.awaited


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("-3", 0.0), ("soon", 0.0), ("", 0.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0)],
)
def test_the_time_that_a_receiver_asks_for_is_read_in_any_form(header: str, seconds: float) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = header

    assert seconds == retry_after_s(response)


def test_an_absurd_time_is_no_error() -> None:
    response = requests.Response()
    response.headers["Retry-After"] = "9" * 400

    assert 0.0 <= retry_after_s(response) < math.inf


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_is_left_alone_for_as_long_as_it_asks(tmp_path: Path, status: int) -> None:
    receiver = UnwellAtFirst(f"HTTP/1.1 {status} X\r\nRetry-After: 4\r\nContent-Length: 0\r\n\r\n".encode())
    with training(tmp_path, "--rounds", "1") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    with receiver.listening() as endpoint:
        env = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
        with relay(tmp_path / "run", "--linger", "0", **env) as sender:
            sender.communicate(timeout=PATIENCE_S)

    assert 0 == sender.returncode
    assert receiver.arrived[1] - receiver.arrived[0] >= 4.0  # it would be 0.5 s by the relay's own pace
