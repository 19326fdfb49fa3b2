"""Places in which training runs: the first process of a container, a step that ends with its process, a notebook."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.processes import events_by_type, manifest, scrape
from tests.runtime.runs import environment, kill, lines_of, script, types_of
from tests.tools import do_without
from tests.waiting import PATIENCE_S, wait_for

TRAIN = """
esper_otel.configure(run_id="r", linger_s=600)
for number in range(1, 101):
    esper_otel.emit(PolicyUpdate(ppo_update_idx=number, pre_clip_grad_norm=1.0))
    time.sleep({pause})
{end}
"""


def namespace() -> list[str]:
    """Start of a command whose first process ends all others with it, as a container does."""
    command = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]
    for more in ([], ["--user", "--map-root-user"]):
        if shutil.which("unshare") and subprocess.run([*command, *more, "true"], capture_output=True).returncode == 0:
            return [*command, *more]
    return do_without("no PID namespace can be made here: it takes root, or user namespaces, and unshare(1)")


def delivered(receiver: OtlpReceiver) -> Counter[str]:
    """How often each event arrived."""
    return Counter(str(attributes(log)["esper.event.id"]) for log in receiver.logs)


@pytest.mark.parametrize("pause", [0.001, 0.02])
@pytest.mark.parametrize("end", ["esper_otel.shutdown()", "", "raise ValueError('no data')"])
def test_the_first_process_of_a_container_ends_when_everything_is_delivered(
    tmp_path: Path, pause: float, end: str
) -> None:
    with OtlpReceiver() as receiver:
        script(
            tmp_path,
            TRAIN.format(pause=pause, end=end),
            *namespace(),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint,
            ESPER_OTEL_SHUTDOWN_WAIT="120" if pause > 0.01 else "",
        )
        events = [line["event_id"] for line in lines_of(tmp_path / "telemetry" / "r")]
        assert dict.fromkeys(events, 1) == delivered(receiver)
    assert 101 == len(events)


def test_a_step_whose_processes_are_ended_with_it_delivers_everything_when_it_waits(tmp_path: Path) -> None:
    """A SLURM step or a systemd unit: the trainer is not its first process, what is left behind is killed."""
    with OtlpReceiver() as receiver:
        script(
            tmp_path,
            TRAIN.format(pause=0.001, end="esper_otel.shutdown()"),
            *namespace(),
            "sh",
            "-c",
            '"$@"; exit $?',
            "sh",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint,
            ESPER_OTEL_SHUTDOWN_WAIT="120",
        )
        events = [line["event_id"] for line in lines_of(tmp_path / "telemetry" / "r")]
        assert dict.fromkeys(events, 1) == delivered(receiver)


def test_a_notebook_is_scraped_as_it_is_logged_and_cells_can_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path, ESPER_OTEL_LINGER="60", ESPER_OTEL_RELAY="1").items():
        monkeypatch.setenv(name, value)
    begin = (
        "import esper_otel\nfrom esper_otel.events import PolicyUpdate\ntelemetry = esper_otel.configure(run_id='r')"
    )
    emit = "for number in range(20): esper_otel.emit(PolicyUpdate(ppo_update_idx=number))\ntelemetry.relay_pid"
    cells = [begin, emit, "raise ValueError('a cell that fails')", emit, "esper_otel.shutdown()", begin, emit]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=int(PATIENCE_S), kernel_name="python3", allow_errors=True)
    run = tmp_path / "telemetry" / "r"

    def counted() -> Counter[str]:
        url = (manifest(run).get("relay") or {}).get("prometheus_url")
        return events_by_type(scrape(url)) if url else Counter()

    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        wait_for(lambda: counted() == types_of(run) and types_of(run)["TAMIYO_POLICY_UPDATE"] == 60, "the scrape")
    wait_for(lambda: counted() == types_of(run), "the end of the run in the scrape")

    assert ["ValueError"] == [error["ename"] for error in _errors(notebook)]
    ends = [line["data"]["outcome"] for line in lines_of(run) if line["event_type"] == "RUN_ENDED"]
    assert ["finished", "interrupted"] == ends
    kill(manifest(run)["relay"]["pid"])


def _errors(notebook: Any) -> list[Any]:
    return [out for cell in notebook.cells for out in cell.outputs if out.output_type == "error"]
