"""``esper-otel doctor``: what is bad is named with what would be right, and changes the exit status."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from esper_otel.log.layout import Series
from esper_otel.log.lock import WriterLock
from tests.otlp_receiver import OtlpReceiver
from tests.tools import python_environment


def doctor(directory: Path, **variables: str) -> tuple[int, dict[str, str]]:
    """Exit status, and the lines by what they are about."""
    code = "import sys; sys.argv[0] = 'esper-otel'; from esper_otel.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", str(directory)],
        env=python_environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
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


def test_a_relay_that_does_not_answer_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/metrics"
    run = run_of(tmp_path, status="running", relay={"prometheus_url": url})
    lock = WriterLock(Series(run, 0).lock_path)
    lock.acquire()
    try:
        status, found = doctor(tmp_path)
    finally:
        lock.release()

    assert 1 == status
    assert "ok: a-run: running" == found["latest run"]
    assert found["its relay"].startswith(f"BAD: {url} does not answer")


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
    assert all(found[f"OTLP {signal}"].endswith("takes requests") for signal in taken)


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
