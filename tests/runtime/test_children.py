"""Worker processes of a training process: no runs by accident, nothing lost without a word."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import esper_otel
from esper_otel.events import Decision, PolicyUpdate
from esper_otel.sensors import TrainingMonitor
from tests.runtime.emitting_child import emit_in_child
from tests.runtime.runs import lines_of, losses_of, runs_in, script, types_of
from tests.waiting import PATIENCE_S

NO_RELAY = {"ESPER_OTEL_RELAY": "0"}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_import_a_script_with_configure_at_its_top_make_no_runs(tmp_path: Path, method: str) -> None:
    body = f"""
import multiprocessing
esper_otel.configure(run_id="main")
def work(number):
    esper_otel.emit(Decision(env_id=number))
    esper_otel.shutdown()
    return number
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map(work, range(4)))
    esper_otel.emit(Decision(env_id=9))
    esper_otel.shutdown()
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "[0, 1, 2, 3]" in done.stdout, done.stderr
    assert ["main"] == runs_in(tmp_path)
    assert {"TAMIYO_DECISION": 1, "RUN_ENDED": 1} == types_of(tmp_path / "telemetry" / "main")
    assert "configure() ran while a worker imported a script" in done.stderr


def test_a_forked_worker_that_imports_a_module_with_configure_makes_no_run(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("import esper_otel\nesper_otel.configure()\n")
    body = """
import multiprocessing
def work():
    import shared
process = multiprocessing.get_context("fork").Process(target=work)
process.start(); process.join(); print(process.exitcode)
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "0\n" == done.stdout, done.stderr
    assert [] == runs_in(tmp_path)


def test_a_server_that_forks_workers_makes_no_run_of_a_module_that_it_imports_for_them(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("""
import esper_otel
esper_otel.configure()
def work():
    esper_otel.configure(run_id="worker")
    esper_otel.shutdown()
""")
    body = """
import multiprocessing
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["shared"])
if __name__ == "__main__":
    import shared
    esper_otel.shutdown()
    process = context.Process(target=shared.work)
    process.start(); process.join(); print(process.exitcode)
"""
    done = script(tmp_path, body, PYTHONPATH=str(tmp_path), **NO_RELAY)

    assert "0\n" == done.stdout, done.stderr
    assert 2 == len(runs_in(tmp_path))
    assert "worker" in runs_in(tmp_path)


@pytest.fixture
def multiprocess(tmp_path: Path) -> str:
    """A copy of multiprocessing under another name, as multiprocess and billiard are."""
    package = Path(multiprocessing.__file__).parent
    for path in package.rglob("*.py"):
        copied = tmp_path / "multiprocess" / path.relative_to(package)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text(re.sub(r"\bmultiprocessing\b", "multiprocess", path.read_text()))
    return "multiprocess"


def test_workers_of_a_copy_of_multiprocessing_make_no_runs_by_import(tmp_path: Path, multiprocess: str) -> None:
    body = f"""
import {multiprocess}
esper_otel.configure(run_id="main") if __name__ == "__main__" else esper_otel.configure()
def work():
    esper_otel.emit(Decision(env_id=1))
if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        process = {multiprocess}.get_context(method).Process(target=work)
        process.start(); process.join(); print(process.exitcode)
    esper_otel.shutdown()
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "0\n0\n0\n" == done.stdout, done.stderr
    assert ["main"] == runs_in(tmp_path)
    assert {"child_process": 1} == losses_of(tmp_path / "telemetry" / "main")
    assert 2 == done.stderr.count("configure() ran while a worker imported a script")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_of_a_copy_of_multiprocessing_records_a_run_of_its_own(
    tmp_path: Path, multiprocess: str, method: str
) -> None:
    body = f"""
import {multiprocess}
def work():
    esper_otel.configure(run_id="worker")
    esper_otel.emit(Decision(env_id=1))
if __name__ == "__main__":
    process = {multiprocess}.get_context({method!r}).Process(target=work)
    process.start(); process.join(); print(process.exitcode)
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "0\n" == done.stdout, done.stderr
    assert {"TAMIYO_DECISION": 1, "RUN_ENDED": 1} == types_of(tmp_path / "telemetry" / "worker")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("parent", ["esper_otel.configure(run_id='main')", "pass"])
def test_a_worker_that_configures_in_its_function_records_everything(tmp_path: Path, method: str, parent: str) -> None:
    body = f"""
import multiprocessing
def work():
    esper_otel.configure(run_id="worker")
    for number in range(100):
        esper_otel.emit(Decision(env_id=number))
if __name__ == "__main__":
    {parent}
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start(); process.join(); print(process.exitcode)
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "0\n" == done.stdout, done.stderr
    worker = tmp_path / "telemetry" / "worker"
    assert {"TAMIYO_DECISION": 100, "RUN_ENDED": 1} == types_of(worker)
    assert "interrupted" == lines_of(worker)[-1]["data"]["outcome"]


def test_a_worker_that_fails_ends_its_run_as_failed(tmp_path: Path) -> None:
    body = """
import multiprocessing
def work():
    esper_otel.configure(run_id="worker")
    raise ValueError("no data")
process = multiprocessing.get_context("fork").Process(target=work)
process.start(); process.join()
"""
    script(tmp_path, body, **NO_RELAY)

    ended = lines_of(tmp_path / "telemetry" / "worker")[-1]["data"]
    assert ("failed", "ValueError: no data") == (ended["outcome"], ended["detail"])


def test_what_a_forked_child_emits_is_counted_in_the_parents_log_and_reported_once(tmp_path: Path) -> None:
    body = """
import multiprocessing
def work():
    for number in range(100):
        esper_otel.emit(Decision(env_id=number))
telemetry = esper_otel.configure(run_id="main")
for _ in range(3):
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start(); process.join()
print(telemetry.counters)
esper_otel.shutdown()
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "'dropped.child_process': 300" in done.stdout
    assert {"child_process": 300} == losses_of(tmp_path / "telemetry" / "main")
    assert 1 == done.stderr.count("events of a forked child process")


def test_a_spawned_worker_of_a_recording_process_reports_what_it_cannot_record(tmp_path: Path) -> None:
    body = """
import multiprocessing
def work():
    esper_otel.emit(Decision(env_id=1))
    esper_otel.emit(Decision(env_id=2))
if __name__ == "__main__":
    for is_recording in (False, True):
        if is_recording:
            esper_otel.configure(run_id="main")
        process = multiprocessing.get_context("spawn").Process(target=work)
        process.start(); process.join()
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert 1 == done.stderr.count("are not recorded in run main"), done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_processes_neither_write_nor_hang(tmp_path: Path, method: str) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, heartbeat_s=0)
    for _ in range(3):
        esper_otel.emit(Decision(env_id=0))
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert list(range(8)) == pool.map_async(emit_in_child, range(8)).get(timeout=PATIENCE_S)
    esper_otel.emit(Decision(env_id=0))
    esper_otel.shutdown()

    assert 4 == types_of(telemetry.run_dir)["TAMIYO_DECISION"]
    # A worker of the pool that ends its telemetry with its first item has no more to count.
    assert (1 <= losses_of(telemetry.run_dir)["child_process"] <= 24) is (method == "fork")


class Emitting(Dataset[torch.Tensor]):
    """A data set whose items emit, as code does that does not know where it runs."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> torch.Tensor:
        esper_otel.emit(Decision(env_id=index))
        return torch.zeros(1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_of_a_data_loader_neither_write_nor_hang(tmp_path: Path) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, heartbeat_s=0)
    for _ in range(3):
        loader = DataLoader(Emitting(), batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=PATIENCE_S)
        assert 4 == sum(1 for _ in loader)
    esper_otel.emit(PolicyUpdate())
    esper_otel.shutdown()

    assert {"TAMIYO_POLICY_UPDATE": 1, "RUN_ENDED": 1} == {
        name: count for name, count in types_of(telemetry.run_dir).items() if name != "TELEMETRY_LOSS"
    }
    assert {"child_process": 48} == losses_of(telemetry.run_dir)


def test_a_trainer_that_holds_the_run_and_a_monitor_can_be_copied_and_pickled(tmp_path: Path) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, run_id="r", heartbeat_s=0)
    model = torch.nn.Linear(2, 2)
    monitor = TrainingMonitor(model, torch.optim.SGD(model.parameters()), emit=esper_otel.emit)
    trainer = {"telemetry": telemetry, "monitor": monitor}

    assert trainer == copy.deepcopy(trainer)
    restored = pickle.loads(pickle.dumps(trainer))
    restored["monitor"].step()
    restored["telemetry"].put((Decision(env_id=1), 0, "default", None, None))
    esper_otel.shutdown()

    assert ("r", telemetry.run_dir) == (restored["telemetry"].run_id, restored["telemetry"].run_dir)
    assert {"emitted": 1, "written": 0, "dropped.child_process": 1} == restored["telemetry"].counters
    types = types_of(telemetry.run_dir)
    assert 1 == types["RUN_ENDED"]
    assert "TAMIYO_DECISION" not in types
