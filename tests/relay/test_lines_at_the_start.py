"""The lines that a relay prints at its start: one for each address that it serves or sends to, without secrets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.otlp_receiver import OtlpReceiver
from tests.recorded import recording
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

SECRET = "correct-horse-battery-staple"


def printed(tmp_path: Path, **environment: str) -> list[str]:
    """Lines of a relay that replays a recording; wandb keeps its files in ``tmp_path``."""
    ended = subprocess.run(
        [sys.executable, "-m", "esper_otel.relay", str(recording("esper-lite-2env")), "--linger", "0", "--drain", "2"],
        env=python_environment(HOME=str(tmp_path), WANDB_DIR=str(tmp_path), **environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stderr
    assert SECRET not in ended.stderr
    return [line.removeprefix("esper-otel relay: ") for line in ended.stderr.splitlines()]


def test_a_relay_says_what_it_serves_and_what_it_sends_where(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        address = receiver.http_endpoint
        lines = printed(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=address.replace("//", f"//user:{SECRET}@") + f"?token={SECRET}",
            OTEL_METRICS_EXPORTER="otlp,prometheus",
            OTEL_EXPORTER_PROMETHEUS_PORT="0",
            ESPER_OTEL_WANDB="offline",
        )

    assert f"OTLP export: traces to {address}, metrics to {address}, logs to {address}" in lines
    assert f"W&B: rows in files for 'wandb sync' under {tmp_path}" in lines
    assert 1 == sum(line.startswith("metrics of run ") and "/metrics" in line for line in lines)


def test_a_relay_says_what_is_off(tmp_path: Path) -> None:
    lines = printed(tmp_path, OTEL_METRICS_EXPORTER="none")

    assert [
        "metrics are not served: OTEL_METRICS_EXPORTER does not name prometheus",
        "OTLP export is off: no OTEL_EXPORTER_OTLP_ENDPOINT is set",
    ] == lines


def test_a_relay_that_all_machines_can_scrape_says_so(tmp_path: Path) -> None:
    (line,) = [
        line
        for line in printed(tmp_path, OTEL_EXPORTER_PROMETHEUS_HOST="0.0.0.0", OTEL_EXPORTER_PROMETHEUS_PORT="0")
        if line.startswith("metrics of run ")
    ]

    assert line.endswith("/metrics, and at that port of all addresses of this machine")


def test_the_address_of_a_server_of_wandb_is_printed_without_its_password(tmp_path: Path) -> None:
    lines = printed(
        tmp_path,
        OTEL_METRICS_EXPORTER="none",
        ESPER_OTEL_WANDB="online",
        WANDB_BASE_URL=f"http://user:{SECRET}@127.0.0.1:9",
        WANDB_INIT_TIMEOUT="1",
    )

    assert "W&B: rows to http://127.0.0.1:9" in lines
