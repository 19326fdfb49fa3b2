"""The exporter that docs/guides/add-an-exporter.md shows works in a relay as it stands there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import esper_otel
from esper_otel.events import BatchCompleted
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from tests.shared_run import finished_run
from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S, wait_for

EXAMPLE = ROOT / "examples" / "rounds_file.py"
RELAY = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import rounds_file
from esper_otel.relay import parts
from esper_otel.relay.pipeline import Registration
parts.PIPELINES += (Registration(rounds_file.make, rounds_file.CHECKPOINT),)
rounds_file.RETRY_S = 0.1
sys.argv[0] = "relay"
from esper_otel.relay.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory)


def relay(run: Path, target: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RELAY, str(EXAMPLE.parent), str(run), "--linger", "0", *options],
        env=python_environment(ESPER_OTEL_ROUNDS_FILE=str(target), OTEL_EXPORTER_PROMETHEUS_PORT="0"),
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=PATIENCE_S)
    assert 0 == process.returncode, said
    return said


def rounds_of(run: Path) -> list[str]:
    with LogReader(run, decode_events=True) as reader:
        events = [item.event for item in reader.read(1_000_000) if isinstance(item, Record)]
    return [f"{event.batch_idx},{event.avg_accuracy}" for event in events if isinstance(event, BatchCompleted)]


def test_the_page_shows_the_example_as_it_is() -> None:
    code = EXAMPLE.read_text("utf-8").split('"""\n\n', 1)[1]
    page = (ROOT / "docs" / "guides" / "add-an-exporter.md").read_text("utf-8")

    assert textwrap.indent(code, "   ", lambda line: bool(line.strip())) in page


def test_it_writes_each_round_once_however_often_the_relay_is_started(run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        ended(relay(run, tmp_path / "rounds.csv"))

    assert rounds_of(run) == (tmp_path / "rounds.csv").read_text().splitlines() != []


def test_it_waits_for_a_destination_that_cannot_be_written_and_reports_that_once(tmp_path: Path) -> None:
    target = tmp_path / "not" / "there" / "rounds.csv"
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, run_id="living", relay=False)
    esper_otel.emit(BatchCompleted(batch_idx=1, avg_accuracy=50.0))
    with relay(telemetry.run_dir, target, "--follow") as process:
        assert process.stderr is not None
        said = next(line for line in iter(process.stderr.readline, "") if "retrying every" in line)
        target.parent.mkdir(parents=True)
        esper_otel.emit(BatchCompleted(batch_idx=2, avg_accuracy=60.0))
        wait_for(target.exists, "the file")
        esper_otel.shutdown()
        rest = ended(process)

    assert ["1,50.0", "2,60.0"] == target.read_text().splitlines()
    assert "the file of rounds: FileNotFoundError" in said
    assert "retrying" not in rest
