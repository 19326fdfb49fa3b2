"""Numbers that real frameworks log, pinned, unchanged: part of ``make frameworks``, which needs a package index."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from esper_otel.events import PolicyUpdate
from esper_otel.events.declare import Instrument
from esper_otel.frameworks.tags import BY_NAME
from esper_otel.log import manifest
from esper_otel.signals.registry import SIGNALS, Signal
from tests.automatic.program_runs import BIN, Ran, environment, read
from tests.packaging.installed import uv
from tests.tools import ROOT
from tests.waiting import PATIENCE_S, wait_for

HERE = Path(__file__).parent
PACKAGES = ROOT / "out" / "frameworks" / "site-packages"
"""Under that name dill, by which TRL hashes its data, knows them for installed packages."""

DOORS = {
    "": (sys.executable,),
    "run": (str(BIN / "esper-otel"), "run"),
    "instrument": (str(BIN / "opentelemetry-instrument"), sys.executable),
    "autolog": (sys.executable, str(HERE / "programs" / "with_autolog.py")),
}


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    if not all((PACKAGES / name).exists() for name in ("lightning", "tensorboard", "tensorboardX", "trl")):
        uv("pip", "install", "--quiet", "--no-deps", "--target", str(PACKAGES), "-r", str(HERE / "requirements.txt"))


def ran(door: str, directory: Path, program: str, *options: str, **more: str) -> Ran:
    directory.mkdir()
    script = [str(HERE / "programs" / program), str(directory / "own.json"), *options]
    command = [*DOORS[door], *script]
    variables = environment(directory, PYTHONPATH=str(PACKAGES), HF_HUB_OFFLINE="1", **more)
    done = subprocess.run(command, env=variables, cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return read(directory, done)


def of_table(values: dict[str, float]) -> dict[str, float]:
    """Fields of a policy update that a framework's own numbers become."""
    found = {BY_NAME[name]: value for name, value in values.items() if name in BY_NAME}
    return {tag.field: value * tag.scale for tag, value in found.items() if tag.event is PolicyUpdate}


def numbers(update: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in update.items() if name != "env_steps"}  # NaN is a text in a log


@pytest.mark.parametrize("door", ["run", "instrument", "autolog"])
@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_each_update_of_stable_baselines_is_one_event_with_the_numbers_that_it_prints(
    algorithm: str, door: str, tmp_path: Path
) -> None:
    run = ran(door, tmp_path / "recorded", "sb3_logged.py", algorithm)
    (own,) = run.own
    printed = [row for row in own["rows"] if "train/n_updates" in row] + [own["last"]]

    updates = run.of("TAMIYO_POLICY_UPDATE")
    assert len(updates) == 5
    logged = [of_table(row) | {"entropy_coef": own["entropy_coef"]} for row in printed]
    assert [numbers(update) for update in updates] == [pytest.approx(row, rel=1e-6) for row in logged]
    assert [update["env_steps"] for update in updates] == [64, 128, 192, 256, 320]
    episodes = run.of("EPISODE_OUTCOME")
    rewards = [episode["episode_reward"] for episode in episodes]
    assert sum(rewards) / len(rewards) == pytest.approx(own["rows"][-1]["rollout/ep_rew_mean"])
    scalars = {(line["tag"], line["step"]): line["value"] for line in run.of("TOLARIA_SCALAR")}
    for row in own["rows"]:
        assert scalars["rollout/ep_len_mean", row["time/total_timesteps"]] == pytest.approx(row["rollout/ep_len_mean"])
    assert run.of("SENSOR_FAULT") == []


def test_an_off_policy_algorithm_has_one_event_for_each_row_that_it_prints(tmp_path: Path) -> None:
    run = ran("run", tmp_path / "recorded", "sb3_logged.py", "SAC")
    rows = [row for row in run.own[0]["rows"] if "train/n_updates" in row]

    updates = run.of("TAMIYO_POLICY_UPDATE")
    assert len(rows) >= 2
    assert [numbers(update) for update in updates] == [pytest.approx(of_table(row), rel=1e-6) for row in rows]
    assert {"policy_loss", "value_loss", "entropy_coef", "lr"} == set(numbers(updates[0]))


def test_the_metrics_and_the_report_show_what_stable_baselines_measured_last(tmp_path: Path) -> None:
    directory = tmp_path / "recorded"
    served = {"ESPER_OTEL_RELAY": "1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0", "ESPER_OTEL_LINGER": "120"}
    run = ran("run", directory, "sb3_logged.py", "PPO", **served)
    latest = directory / "telemetry" / "latest"
    url = wait_for(lambda: (manifest.read(latest).get("relay") or {}).get("prometheus_url"), "the metrics")
    wait_for(lambda: "esper_run_ends_total" in scraped(url) and value_of(scraped(url), UPDATES) == 5, "the whole log")
    page = scraped(url)
    os.kill(manifest.read(latest)["relay"]["pid"], signal.SIGTERM)

    for field, value in of_table(run.own[0]["last"]).items():
        (name,) = {s.prometheus_name for s in SIGNALS if s.event is PolicyUpdate and s.path == (field,) and is_gauge(s)}
        assert value_of(page, name) == pytest.approx(value, rel=1e-6), field
    assert value_of(page, 'tamiyo_kl_violations_total{group_id="default",rank="0",severity="critical"}') == 0
    report = (directory / "report.html").absolute()
    assert 0 == subprocess.run([BIN / "esper-otel", "report", latest, "-o", report], timeout=PATIENCE_S).returncode
    text = report.read_text()
    for name in ("KL, mean", "clip fraction", "explained variance", "value loss", "entropy, nats", "policy loss"):
        assert f'"name":"{name}"' in text, name


UPDATES = "tamiyo_updates_total"


def is_gauge(signal: Signal) -> bool:
    return signal.instrument is Instrument.GAUGE


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def value_of(page: str, name: str) -> float | None:
    lines = [line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return float(lines[0].rpartition(" ")[2]) if lines else None


@pytest.mark.parametrize("writer", ["torch.utils.tensorboard", "tensorboardX"])
def test_what_a_program_writes_for_tensorboard_becomes_updates_episodes_and_scalars(
    writer: str, tmp_path: Path
) -> None:
    run = ran("run", tmp_path / "recorded", "tb_ppo.py", writer)
    (own,) = run.own

    updates = run.of("TAMIYO_POLICY_UPDATE")
    assert [update["env_steps"] for update in updates] == [128, 256, 384]
    expected = [of_table(told) for told in own]
    for update, told in zip(updates, expected, strict=True):
        assert numbers(update) == pytest.approx(told, rel=1e-6, nan_ok=True)
    assert len(run.of("EPISODE_OUTCOME")) == 6
    assert {line["tag"] for line in run.of("TOLARIA_SCALAR")} == {"losses/old_approx_kl", "charts/SPS"}
    assert len(run.updates()) == 3
    assert any((tmp_path / "recorded" / "tb").iterdir())


@pytest.mark.parametrize("framework", ["transformers", "lightning"])
def test_the_losses_that_a_framework_logs_are_scalars_once_though_it_writes_them_for_tensorboard(
    framework: str, tmp_path: Path
) -> None:
    run = ran("run", tmp_path / "recorded", "logged.py", framework)
    told = [tuple(one) for one in run.own[0]]
    names = {name for name, _, _ in told}

    assert len(names) == 2
    found = [(line["tag"], line["step"], line["value"]) for line in run.of("TOLARIA_SCALAR") if line["tag"] in names]
    assert [one[:2] for one in found] == [one[:2] for one in told]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in told], rel=1e-6)
    assert [tag for tag in {line["tag"] for line in run.of("TOLARIA_SCALAR")} if "/" in tag] == []


def test_tags_without_end_are_bounded_counted_and_said(tmp_path: Path) -> None:
    run = ran("run", tmp_path / "recorded", "tb_ppo.py", "tensorboardX", "many")

    assert len({line["tag"] for line in run.of("TOLARIA_SCALAR")}) == 100
    assert sum(fault["count"] for fault in run.of("SENSOR_FAULT")) == 180 + 2 - 100
    assert "more than 100 tags" in run.error


def test_a_variable_keeps_the_numbers_of_frameworks_out(tmp_path: Path) -> None:
    run = ran("run", tmp_path / "recorded", "tb_ppo.py", "tensorboardX", ESPER_OTEL_FRAMEWORKS="0")

    assert run.of("TAMIYO_POLICY_UPDATE") == run.of("TOLARIA_SCALAR") == []
    assert len(run.updates()) == 3
