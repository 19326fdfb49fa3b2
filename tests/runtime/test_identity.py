"""A process knows its rank, whoever started it; nothing in the environment ends training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from esper_otel.runtime.identity import PARENT_RUN
from esper_otel.runtime.settings import Settings
from tests.runtime.runs import settings_of
from tests.waiting import PATIENCE_S

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500"}
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NNODES": "2", "SLURM_JOB_ID": "77"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "prterun-head-41@1",
}

CASES = {
    "nothing": ({}, 0, 1, True, False),
    "torchrun": (TORCHRUN, 3, 4, False, True),
    "torchrun, first of a node": ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0"}, 2, 4, True, True),
    "torchrun on one node": ({**TORCHRUN, "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"}, 3, 4, False, False),
    "srun": ({**SLURM, "SLURM_STEP_ID": "0"}, 3, 4, False, True),
    "srun, first of a node": ({**SLURM, "SLURM_STEP_ID": "0", "SLURM_LOCALID": "0"}, 3, 4, True, True),
    "a batch script of SLURM, which is one process": (SLURM, 0, 1, True, False),
    "srun torchrun": ({**SLURM, **TORCHRUN, "SLURM_STEP_ID": "0"}, 3, 4, False, True),
    "mpirun": (OPEN_MPI, 3, 4, False, True),
    "mpirun in a job of SLURM": ({**SLURM, **OPEN_MPI, "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}, 3, 4, False, True),
    "MPICH": ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}, 1, 2, False, False),
    "MVAPICH": ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"}, 1, 2, False, False),
    "Lightning": ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_PORT": "1"}, 1, 2, False, False),
    "no numbers": ({"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "-1"}, 0, 1, True, False),
}


@pytest.mark.parametrize("name", CASES)
def test_rank_size_and_relay_follow_from_the_launchers_variables(name: str) -> None:
    variables, rank, size, relay, is_one_of_nodes = CASES[name]

    settings = settings_of(variables)

    assert (settings.rank, settings.world_size) == (rank, size)
    assert settings.relay is relay
    assert settings.is_one_of_nodes is is_one_of_nodes
    assert settings.problems == () or name == "torchrun, first of a node" or name == "torchrun"


@pytest.mark.parametrize(
    "job",
    [
        {**SLURM, "SLURM_STEP_ID": "0"},
        OPEN_MPI,
        {**TORCHRUN, "TORCHELASTIC_RUN_ID": "job-5"},
        {**TORCHRUN, **SLURM, "SLURM_STEP_ID": "0"},
    ],
)
def test_nodes_agree_on_the_run_of_a_job_and_the_next_job_has_another(job: dict[str, str]) -> None:
    def run_of(**changes: str) -> Settings:
        return settings_of({**job, **changes})

    rank = next(name for name in ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID") if name in job)
    named = next(n for n in ("TORCHELASTIC_RUN_ID", "PMIX_NAMESPACE", "SLURM_JOB_ID") if n in job)

    assert run_of(**{rank: "0"}).run_id == run_of().run_id != run_of(**{named: "another"}).run_id
    assert run_of().problems == ()


def test_a_rank_that_a_recording_process_started_belongs_to_its_run() -> None:
    lightning = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}

    assert settings_of({**lightning, PARENT_RUN: f"{os.getppid()} mine"}).run_id == "mine"
    assert settings_of({**lightning, PARENT_RUN: f"{os.getppid() + 1} mine"}).run_id != "mine"
    assert settings_of({PARENT_RUN: f"{os.getppid()} mine"}).run_id != "mine", "it may be an evaluation of its own"


PROGRAM = """
import os, esper_otel
from esper_otel.events import Heartbeat
{before}
run = esper_otel.configure({arguments})
esper_otel.emit(Heartbeat())
print(run.run_id, run._settings.rank, run._settings.world_size)
{then}
esper_otel.shutdown()
"""


def lines_of(directory: Path, text: str, **variables: str) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "ESPER_OTEL_TELEMETRY_DIR": str(directory), "ESPER_OTEL_RELAY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_process_group_is_asked_when_it_is_initialised(tmp_path: Path) -> None:
    group = f"""
from torch import distributed
distributed.init_process_group("gloo", init_method="file://{tmp_path}/meeting", rank=0, world_size=1)
"""
    (line,) = lines_of(tmp_path, PROGRAM.format(before=group, arguments="", then="distributed.destroy_process_group()"))

    assert line.split()[1:] == ["0", "1"]


def test_two_processes_that_the_environment_calls_one_rank_both_train_and_one_says_what_is_wrong(
    tmp_path: Path,
) -> None:
    inner = PROGRAM.format(before="", arguments="", then="")
    (tmp_path / "inner.py").write_text(inner)
    then = f"import subprocess, sys; subprocess.run([sys.executable, {str(tmp_path / 'inner.py')!r}], check=True)"
    lines = lines_of(tmp_path, PROGRAM.format(before="", arguments="", then=then), ESPER_OTEL_RUN_ID="shared")

    assert [line.split()[0] for line in lines] == ["shared", "shared"]
    run = json.loads((tmp_path / "shared" / "run.json").read_text())
    assert run["status"] == "finished"


def test_a_launch_by_hand_on_one_node_agrees_without_a_word() -> None:
    first, second = (settings_of({}, rank=rank, world_size=2) for rank in (0, 1))

    assert first.run_id == second.run_id
    assert first.problems == second.problems == ()
