"""W&B is used when asked for, and what goes wrong with it is said, counted and no reason to stop."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recorded import recording
from tests.recordings.served_run import relay_on, scrape
from tests.tools import python_environment
from tests.waiting import PATIENCE_S
from tests.wandb.test_offline import quiet_wandb, relay

__all__ = ["quiet_wandb"]

WITHOUT_WANDB = "import sys; sys.modules['wandb'] = None; from esper_otel.cli import main; main()"
WHO_IMPORTED = "import sys; from esper_otel.relay import service; print('wandb' in sys.modules)"


def test_the_relay_does_not_import_wandb_unless_asked() -> None:
    said = subprocess.run(
        [sys.executable, "-c", WHO_IMPORTED], env=python_environment(), capture_output=True, text=True, check=True
    )

    assert "False\n" == said.stdout


def test_where_the_package_is_missing_the_relay_says_what_to_install_and_goes_on(quiet_wandb: dict[str, str]) -> None:
    run = recording("esper-lite-2env")
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_WANDB, "relay", str(run), "--linger", "0"],
        env=python_environment(ESPER_OTEL_WANDB="offline", **quiet_wandb),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert 0 == ended.returncode
    assert "ESPER_OTEL_WANDB=offline needs the package wandb" in ended.stderr
    assert '[wandb]"' in ended.stderr


def test_a_mode_that_does_not_exist_is_refused_at_the_start(quiet_wandb: dict[str, str]) -> None:
    ended = relay(recording("esper-lite-2env"), wandb="yes", **quiet_wandb)

    assert (2, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "ESPER_OTEL_WANDB='yes': expected off, offline or online" in ended.stderr


@pytest.mark.parametrize("key", ["", "a" * 40])
def test_a_server_that_is_away_or_a_missing_key_is_counted_and_the_metrics_are_served(
    tmp_path: Path, quiet_wandb: dict[str, str], key: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    environment = {
        **quiet_wandb,
        "OTEL_METRICS_EXPORTER": "prometheus",
        "WANDB_BASE_URL": url,
        "WANDB_INIT_TIMEOUT": "2",
    }
    if key:
        environment["WANDB_API_KEY"] = key
    with relay_on(recording("esper-lite-2env"), ESPER_OTEL_WANDB="online", **environment) as at:
        served = scrape(at)

    assert served.values("esper_relay_export_failures_total", "signal")[("wandb",)] >= 1
    assert served.total("tamiyo_updates_total") > 0


def test_rows_written_are_counted(quiet_wandb: dict[str, str]) -> None:
    environment = {**quiet_wandb, "OTEL_METRICS_EXPORTER": "prometheus"}
    with relay_on(recording("esper-lite-2env"), ESPER_OTEL_WANDB="offline", **environment) as at:
        served = scrape(at)

    assert served.values("esper_relay_exported_total", "signal")[("wandb",)] > 10
    assert 0 == served.values("esper_relay_export_failures_total", "signal")[("wandb",)]


def test_a_failure_is_said_once(quiet_wandb: dict[str, str]) -> None:
    ended = relay(recording("esper-lite-2env"), "--drain", "2", wandb="online", **quiet_wandb)

    assert 1 == len(re.findall(r"relay: W&B: (?!rows to )", ended.stderr))
    assert "API key" in ended.stderr
