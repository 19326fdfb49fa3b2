"""``esper-otel doctor``: what is bad is named with what would be right, and changes the exit status."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import WriterLock
from esper_otel.relay.prometheus.endpoint import Endpoint
from esper_otel.relay.prometheus.exposition import FamilyCollector
from tests.otlp_receiver import OtlpReceiver
from tests.tools import python_environment
from tests.waiting import PATIENCE_S


def doctor(directory: Path, **variables: str) -> tuple[int, dict[str, str]]:
    """Exit status, and the lines by what they are about."""
    code = "import sys; sys.argv[0] = 'esper-otel'; from esper_otel.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", str(directory)],
        env=python_environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "" == done.stderr
    return done.returncode, {
        line[5:24].strip(): f"{line[:4].strip()}: {line[25:]}" for line in done.stdout.splitlines()
    }


def run_of(directory: Path, **content: object) -> Path:
    run = directory / "a-run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"run_id": "a-run", **content}))
    (directory / "latest").symlink_to("a-run")
    return run


def test_the_road_that_events_take_is_told_with_the_reason(tmp_path: Path) -> None:
    _, found = doctor(tmp_path, ESPER_OTEL_NATIVE="0")

    expected = "note: python (ESPER_OTEL_NATIVE switches the native part off); an event takes several times as long"
    assert found["recording"].startswith(expected)


def test_a_machine_without_runs_or_collector_is_no_fault(tmp_path: Path) -> None:
    status, found = doctor(tmp_path)

    assert 0 == status
    assert f"note: none in {tmp_path}" == found["latest run"]
    assert "note: OTLP export is off: no OTEL_EXPORTER_OTLP_ENDPOINT is set" == found["OTLP"]
    assert found["telemetry directory"].startswith("ok")


def test_a_run_that_died_unnoticed_is_found(tmp_path: Path) -> None:
    run_of(tmp_path, status="running")
    status, found = doctor(tmp_path)

    assert 1 == status
    assert "a-run says it is running, but no process writes it" in found["latest run"]


def doctor_of(directory: Path, url: object, **variables: str) -> tuple[int, dict[str, str]]:
    """What it says of a run that goes on and whose relay is said to be at ``url``."""
    run = run_of(directory, status="running", relay={"prometheus_url": url})
    lock = WriterLock(Series(run, 0).lock_path)
    lock.acquire()
    try:
        return doctor(directory, **variables)
    finally:
        lock.release()


@contextmanager
def endpoint(run: str = "a-run") -> Iterator[str]:
    """A relay's endpoint."""
    server = Endpoint(FamilyCollector(list, {"k": "v"}), "127.0.0.1", 0, run)
    try:
        yield server.url
    finally:
        server.close()


def test_a_relay_that_does_not_answer_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/metrics"
    status, found = doctor_of(tmp_path, url)

    assert 1 == status
    assert "ok: a-run: running" == found["latest run"]
    assert found["its relay"].startswith(f"BAD: {url} does not answer")


def test_a_relay_that_serves_another_run_is_found(tmp_path: Path) -> None:
    with endpoint("another-run") as url:
        status, found = doctor_of(tmp_path, url)

    assert 1 == status
    assert found["its relay"].startswith(f"BAD: {url} does not answer (HTTP status 404)")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_relay_on_this_machine_is_asked_past_every_proxy(tmp_path: Path, variable: str) -> None:
    with endpoint() as url:
        status, found = doctor_of(tmp_path, url, **{variable: "http://127.0.0.1:9"})

    assert 0 == status
    assert f"ok: {url}: 3 lines, nothing lost" == found["its relay"]


@pytest.mark.parametrize(
    "url",
    [
        "file://{private}",
        "FILE:{private}",
        "file:///dev/zero",
        "ftp://127.0.0.1/x",
        "data:,esper_log_lost_events_total%2031337",
        "http://192.0.2.1:9464/metrics",
        "http://127.0.0.1:80@192.0.2.1/metrics",
        "http://[::1",
        "http://127.0.0.1:99999999/metrics",
        "//127.0.0.1:80/metrics",
        "metrics",
        7,
        ["http://127.0.0.1"],
        {"a": 1},
    ],
)
def test_an_address_that_is_no_relay_s_on_this_machine_is_not_asked(tmp_path: Path, url: object) -> None:
    private = tmp_path / "private.txt"
    private.write_text('esper_log_lost_events_total{reason="x"} 31337\n')
    status, found = doctor_of(tmp_path, url.format(private=private) if isinstance(url, str) else url)

    assert 1 == status
    assert "the address in run.json, is" in found["its relay"]
    assert "31337 events" not in found["its relay"]


class Odd(BaseHTTPRequestHandler):
    """Answers with one of several oddities."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        kind = self.server.kind  # type: ignore[attr-defined]
        self.send_response(302 if kind == "redirect" else 200)
        if kind == "redirect":
            self.send_header("Location", "/private")
        self.end_headers()
        try:
            while kind == "endless":
                self.wfile.write(b"x" * 2**20)
            while kind == "slow":
                self.wfile.write(b"x")
                time.sleep(0.1)
        except OSError:
            return
        self.wfile.write(b'esper_log_lost_events_total{reason="x"} many\n')

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.mark.parametrize("kind", ["redirect", "endless", "slow", "garbage"])
def test_whoever_answers_instead_of_the_relay_gets_one_request_and_little_time_and_memory(
    tmp_path: Path, kind: str
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.daemon_threads, server.kind = True, kind  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    Odd.asked.clear()
    status, found = doctor_of(tmp_path, f"http://127.0.0.1:{server.server_port}/delete?everything=1")
    server.shutdown()
    server.server_close()

    assert 1 == status
    assert "does not answer" in found["its relay"]
    assert ["/metrics?run=a-run"] == Odd.asked


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_endpoints_are_asked_with_an_empty_request(tmp_path: Path, protocol: str) -> None:
    with OtlpReceiver() as receiver:
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        status, found = doctor(tmp_path, **variables)
        taken = [signal for signal, _ in receiver.requests]
        items = len(receiver.logs) + len(receiver.spans) + len(receiver.metrics)

    assert 0 == status
    assert {"traces", "metrics", "logs"} == set(taken)
    assert 0 == items
    assert all(found[f"OTLP {signal}"].endswith("accepts requests") for signal in taken)


def test_an_endpoint_that_is_down_or_misspelled_is_found(tmp_path: Path) -> None:
    down = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    status, found = doctor(tmp_path, **down)
    assert 1 == status
    assert found["OTLP logs"].startswith("BAD: http://127.0.0.1:9: ")

    status, found = doctor(tmp_path, OTEL_TRACES_EXPORTER="zipkin")
    assert 1 == status
    assert "OTEL_TRACES_EXPORTER=zipkin: only otlp and none are supported" in found["OTLP"]


def test_a_port_that_is_no_number_is_found(tmp_path: Path) -> None:
    status, found = doctor(tmp_path, OTEL_EXPORTER_PROMETHEUS_PORT="metrics")

    assert 1 == status
    assert "BAD: OTEL_EXPORTER_PROMETHEUS_PORT='metrics': expected a port from 0 to 65535" == found["scrape endpoint"]


def test_a_port_in_use_names_the_relay_that_uses_it_or_another_process(tmp_path: Path) -> None:
    endpoint = Endpoint(FamilyCollector(list, {"k": "v"}), "127.0.0.1", 0, "a-run")
    taken = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(endpoint.port)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        _, foreign = doctor(tmp_path, OTEL_EXPORTER_PROMETHEUS_PORT=str(other.getsockname()[1]))
    run_of(tmp_path, status="finished", relay={"prometheus_url": endpoint.url})
    _, ours = doctor(tmp_path, **taken)
    endpoint.close()

    assert "is in use by another process; the next relay takes the next free port" in foreign["scrape endpoint"]
    assert "is in use by the relay of a-run; the next relay takes the next free port" in ours["scrape endpoint"]
