"""The instrumentor, each time in a process of its own: how it attaches, what it leaves alone, how a run ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

from tests.esper_lite.hub_package import make_package
from tests.packaging.installed import uv
from tests.tools import ROOT, python_environment, tool
from tests.waiting import PATIENCE_S

BY_HAND = """
from esper_otel.esper_lite.producer.instrumentor import EsperLiteInstrumentor as I
I().instrument(skip_dep_check=True)
"""
TRAIN = """
from esper.simic.training.vectorized import train_ppo_vectorized
from esper.nissa.output import get_hub
hub = get_hub()
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    make_package(tmp_path / "package")
    return tmp_path / "package"


def run(package: Path, program: str, *before: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A process that has the package, with telemetry into ``runs`` beside it and no relay unless told otherwise."""
    settings = {"ESPER_OTEL_TELEMETRY_DIR": str(package.parent / "runs"), "ESPER_OTEL_RELAY": "0", **env}
    environment = python_environment(**settings) | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(package)])}
    command = [*before, sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, cwd=package)


def lines(package: Path) -> list[dict[str, Any]]:
    log = package.parent / "runs" / "latest" / "events.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def ended(package: Path) -> tuple[str, str | None]:
    data = lines(package)[-1]["data"]
    return data["outcome"], data.get("detail")


def test_opentelemetry_finds_it_by_its_name() -> None:
    found = {entry.name: entry.value for entry in entry_points(group="opentelemetry_instrumentor")}

    assert "esper_otel.esper_lite.producer.instrumentor:EsperLiteInstrumentor" == found["esper_lite"]


def test_a_program_under_opentelemetry_instrument_is_recorded_without_a_change_to_it(package: Path) -> None:
    command = tool("opentelemetry-instrument")

    ran = run(package, TRAIN + "train_ppo_vectorized(); hub.close()", command)

    assert (0, "") == (ran.returncode, ran.stderr)
    assert ["TRAINING_STARTED", "RUN_ENDED"] == [line["event_type"] for line in lines(package)]
    assert ("finished", None) == ended(package)


def test_the_relay_of_an_instrumented_program_is_not_instrumented_itself(package: Path) -> None:
    command = tool("opentelemetry-instrument")
    program = """
import os, pathlib, time
train_ppo_vectorized()
relay = hub.backends[0]._telemetry.relay_pid
while not (environ := pathlib.Path(f"/proc/{relay}/environ").read_text()):  # while the program is being loaded
    time.sleep(0.01)
print(*environ.split(chr(0)), sep=chr(10))
print("own", os.environ["PYTHONPATH"])
hub.close()
"""
    relay = {"ESPER_OTEL_RELAY": "1", "ESPER_OTEL_LINGER": "0", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}

    ran = run(package, TRAIN + program, command, **relay)

    relays = next(line for line in ran.stdout.splitlines() if line.startswith("PYTHONPATH="))
    own = next(line for line in ran.stdout.splitlines() if line.startswith("own "))
    assert (True, False) == ("auto_instrumentation" in own, "auto_instrumentation" in relays)


@pytest.mark.parametrize(
    ("asked", "is_served"), [({}, True), ({"OTEL_METRICS_EXPORTER": "otlp"}, False)], ids=["by it", "by the user"]
)
def test_with_opentelemetrys_distribution_installed_metrics_are_served_unless_the_user_asked_for_otlp(
    package: Path, asked: dict[str, str], is_served: bool
) -> None:
    wanted = f"opentelemetry-distro=={version('opentelemetry-instrumentation')}"
    uv("pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(package), wanted)
    program = """
import json, os, pathlib, time, urllib.request
train_ppo_vectorized()
run = hub.backends[0]._telemetry.run_dir
while not (relay := json.loads((run / "run.json").read_text()).get("relay")):
    time.sleep(0.05)
url = relay["prometheus_url"]
print(os.environ["OTEL_TRACES_EXPORTER"], url and "TRAINING_STARTED" in urllib.request.urlopen(url).read().decode())
hub.close()
"""
    settings = {"ESPER_OTEL_RELAY": "1", "ESPER_OTEL_LINGER": "0", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}

    ran = run(package, TRAIN + program, tool("opentelemetry-instrument"), **settings, **asked)

    assert f"otlp {True if is_served else None}" in ran.stdout.splitlines(), ran.stderr  # it is there, and configured


def test_instrumenting_imports_neither_esper_lite_nor_an_sdk(package: Path) -> None:
    program = BY_HAND + "import sys; print([n for n in ('esper', 'torch', 'opentelemetry.sdk') if n in sys.modules])"

    assert "[]\n" == run(package, program).stdout


def test_a_hub_that_was_made_before_is_attached_to_as_well(package: Path) -> None:
    run(package, TRAIN + BY_HAND + "train_ppo_vectorized(); hub.close()")

    assert ["TRAINING_STARTED", "RUN_ENDED"] == [line["event_type"] for line in lines(package)]


def test_arguments_go_to_the_run(package: Path) -> None:
    program = BY_HAND.replace("skip_dep_check=True", "run_id='mine', tracer_provider=None")
    run(package, program + TRAIN + "train_ppo_vectorized(); hub.close()")

    assert {"mine"} == {line["run_id"] for line in lines(package)}


def test_uninstrumenting_ends_the_run_and_undoes_everything(package: Path) -> None:
    program = (
        f"{BY_HAND}{TRAIN}train_ppo_vectorized(); I().uninstrument(); train_ppo_vectorized(); print(hub.backends)\n"
    )
    again = (
        "import esper.nissa.output as o; print(o.NissaHub().backends, hasattr(train_ppo_vectorized, '__wrapped__'))\n"
    )
    ran = run(package, program + again.replace("train_ppo_vectorized,", "o.NissaHub.__init__,"))

    assert "[]\n[] False\n" == ran.stdout
    assert ["TRAINING_STARTED", "RUN_ENDED"] == [line["event_type"] for line in lines(package)]


def test_it_can_be_instrumented_again(package: Path) -> None:
    program = (
        f"{BY_HAND}{TRAIN}I().uninstrument(); I().instrument(skip_dep_check=True); train_ppo_vectorized(); hub.close()"
    )
    run(package, program)

    assert ["TRAINING_STARTED", "RUN_ENDED"] == [line["event_type"] for line in lines(package)]


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        ("train_ppo_vectorized(fails=True)", ("failed", "ValueError: no training batches")),
        ("try: train_ppo_vectorized(fails=True)\nfinally: hub.close()", ("failed", "ValueError: no training batches")),
        (
            "try: train_ppo_vectorized(fails=True)\nexcept ValueError: pass\nhub.close()",
            ("failed", "ValueError: no training batches"),
        ),
        (
            "train_ppo_vectorized()\ntry: raise KeyboardInterrupt\nfinally: hub.close()",
            ("interrupted", "KeyboardInterrupt: "),
        ),
    ],
)
def test_a_run_says_how_it_ended(ending: str, outcome: tuple[str, str], package: Path) -> None:
    run(package, BY_HAND + TRAIN + ending)

    assert outcome == ended(package)


def test_a_process_that_loads_data_has_no_run_of_its_own(package: Path) -> None:
    (package / "program.py").write_text(
        BY_HAND + TRAIN + "import multiprocessing as m\n"
        "def load():\n    train_ppo_vectorized(); print(len(hub.backends))\n"
        "if __name__ == '__main__':\n"
        "    worker = m.get_context('spawn').Process(target=load); worker.start(); worker.join()\n"
    )
    ran = run(package, "import runpy; runpy.run_path('program.py', run_name='__main__')")

    assert "0\n" == ran.stdout
    assert [] == lines(package)


def test_a_wrong_setting_is_said_and_training_goes_on(package: Path) -> None:
    program = BY_HAND + TRAIN + "train_ppo_vectorized(); hub.close(); print('trained')"

    ran = run(package, program, ESPER_OTEL_LINGER="soon")

    assert "trained\n" == ran.stdout
    assert "esper-otel: ESPER_OTEL_LINGER='soon' is ignored: it must be a number of seconds" in ran.stderr


def test_an_sdk_in_the_training_process_is_remarked_on(package: Path) -> None:
    sdk = "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
    sdk += "trace.set_tracer_provider(TracerProvider())\n"

    ran = run(package, sdk + BY_HAND + TRAIN + "train_ppo_vectorized(); hub.close()")

    assert "OTEL_PYTHON_DISTRO=none OTEL_PYTHON_CONFIGURATOR=none" in ran.stderr
