"""Answers of receivers and what is in front of them: what they mean for the items that were sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from esper_otel.relay.otlp.attempts import SignalExporter
from esper_otel.relay.otlp.exporters import Exporters
from tests.faults.bad_endpoint import read_request
from tests.relay.test_otlp import RESOURCE, log
from tests.waiting import wait_for

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
