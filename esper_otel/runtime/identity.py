"""Place of this process in a job: its rank, the number of ranks, its place on the node, the name of the job.

Every launcher tells in variables of its own; a process group that is initialised knows best of all. Nothing is imported
for it and nothing here raises.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

import msgspec

from esper_otel.log.locks.processes import variables_at_start

PARENT_RUN: Final = "ESPER_OTEL_PARENT_RUN"
"""Set by a process that records, for those it starts: its process id and its run."""


class Launcher(msgspec.Struct, frozen=True, kw_only=True):
    """Variables of one launcher; of several names the first that is set counts.

    Attributes:
        name: for people.
        rank: rank of the process among all.
        size: number of ranks.
        local_rank: rank on the node.
        local_size: ranks on the node.
        nodes: number of nodes.
        job: what together names the job on every node, and is another for the next one.
        needed: a variable without which the others are left over from something else.
    """

    name: str
    rank: tuple[str, ...]
    size: tuple[str, ...]
    local_rank: tuple[str, ...] = ()
    local_size: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    job: tuple[str, ...] = ()
    needed: str = ""


LAUNCHERS: Final = (
    Launcher(
        name="torchrun, accelerate, DeepSpeed, Ray Train",
        rank=("RANK",),
        size=("WORLD_SIZE",),
        local_rank=("LOCAL_RANK",),
        local_size=("LOCAL_WORLD_SIZE",),
        nodes=("GROUP_WORLD_SIZE",),
    ),
    Launcher(
        name="Open MPI",
        rank=("OMPI_COMM_WORLD_RANK",),
        size=("OMPI_COMM_WORLD_SIZE",),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
        local_size=("OMPI_COMM_WORLD_LOCAL_SIZE",),
        job=("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    ),
    Launcher(
        name="MVAPICH",
        rank=("MV2_COMM_WORLD_RANK",),
        size=("MV2_COMM_WORLD_SIZE",),
        local_rank=("MV2_COMM_WORLD_LOCAL_RANK",),
        local_size=("MV2_COMM_WORLD_LOCAL_SIZE",),
    ),
    Launcher(
        name="srun of SLURM",
        rank=("SLURM_PROCID",),
        size=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        local_rank=("SLURM_LOCALID",),
        nodes=("SLURM_STEP_NUM_NODES", "SLURM_NNODES"),
        needed="SLURM_STEP_ID",
    ),
    Launcher(
        name="MPICH, Intel MPI",
        rank=("PMI_RANK", "PMIX_RANK"),
        size=("PMI_SIZE",),
        local_rank=("MPI_LOCALRANKID",),
        local_size=("MPI_LOCALNRANKS",),
        job=("PMIX_NAMESPACE",),
    ),
)
"""In the order in which they are asked: a job of SLURM may start torchrun or mpirun."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Place of this process in its job.

    Attributes:
        rank: rank among all processes; None if nothing tells it.
        size: number of ranks; None if nothing tells it.
        local_rank: rank on this node.
        local_size: ranks on this node.
        nodes: number of nodes.
        job: what all ranks of the job, and no other job, have in common.
        starts_ranks: this process starts the other ranks itself, as Lightning's first does.
    """

    rank: int | None = None
    size: int | None = None
    local_rank: int | None = None
    local_size: int | None = None
    nodes: int | None = None
    job: str = ""
    starts_ranks: bool = False

    @property
    def is_on_one_node(self) -> bool:
        """Return True unless something says that the job has several nodes."""
        if self.local_size is not None and self.size is not None:
            return self.local_size >= self.size
        return self.nodes <= 1 if self.nodes is not None else self.local_rank is None


def place(variables: Mapping[str, str]) -> Place:
    """The place that the process group, else the launcher's variables, else Lightning's tell."""
    launcher = next((one for one in LAUNCHERS if _is_told_by(one, variables)), None)
    found = _told_by(launcher, variables) if launcher is not None else _of_lightning(variables)
    group = _of_process_group()
    if group is not None and variables is os.environ:
        found = msgspec.structs.replace(found, rank=group[0], size=group[1])
    return found


def number(variables: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    """The first of the variables that is a whole number; None without any."""
    for name in names:
        text = variables.get(name, "").strip()
        if text.isascii() and text.isdecimal() and len(text) < 10:
            return int(text)
    return None


def _is_told_by(launcher: Launcher, variables: Mapping[str, str]) -> bool:
    if launcher.needed and not variables.get(launcher.needed, "").strip():
        return False
    return number(variables, launcher.rank) is not None and number(variables, launcher.size) is not None


def _told_by(launcher: Launcher, variables: Mapping[str, str]) -> Place:
    job = next((variables[name].strip() for name in launcher.job if variables.get(name, "").strip()), "")
    return Place(
        rank=number(variables, launcher.rank),
        size=number(variables, launcher.size),
        local_rank=number(variables, launcher.local_rank),
        local_size=number(variables, launcher.local_size),
        nodes=number(variables, launcher.nodes),
        job=job or _rendezvous(variables) or _slurm_job(variables),
    )


def _of_lightning(variables: Mapping[str, str]) -> Place:
    """Lightning's processes know LOCAL_RANK, WORLD_SIZE and NODE_RANK; the first sets them when it starts the rest."""
    size, local_rank = number(variables, ("WORLD_SIZE",)), number(variables, ("LOCAL_RANK",))
    if size is None or local_rank is None or "RANK" in variables:
        return Place(local_rank=local_rank, local_size=number(variables, ("LOCAL_WORLD_SIZE",)))
    node = number(variables, ("NODE_RANK", "GROUP_RANK")) or 0
    nodes = number(variables, ("NNODES",))
    per_node = size // nodes if nodes else size
    rank = node * per_node + local_rank
    given = variables_at_start()
    return Place(
        rank=rank if rank < size else None,
        size=size,
        local_rank=local_rank,
        local_size=per_node,
        nodes=nodes,
        starts_ranks=local_rank == 0 and variables is os.environ and given is not None and "LOCAL_RANK" not in given,
    )


def _rendezvous(variables: Mapping[str, str]) -> str:
    """Name of the job that somebody gave torchrun; the default, ``none``, is every job's."""
    name = variables.get("TORCHELASTIC_RUN_ID", "").strip()
    return "" if name in {"", "none"} else name


def _slurm_job(variables: Mapping[str, str]) -> str:
    """A step of a job of SLURM, which also starts other launchers on every node; empty outside one."""
    parts = [variables.get(name, "").strip() for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")]
    return ".".join(parts) if parts[0] and parts[1] else ""


def _of_process_group() -> tuple[int, int] | None:
    """Rank and size from ``torch.distributed``, if the program imported and initialised it."""
    distributed = sys.modules.get("torch.distributed")
    try:
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return None
        return int(distributed.get_rank()), int(distributed.get_world_size())
    except Exception:  # it is being imported, or torn down
        return None
