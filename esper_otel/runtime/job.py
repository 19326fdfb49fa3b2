"""The job of a scheduler that this process belongs to, as resource attributes.

Kubernetes' names are those of OpenTelemetry's conventions, which have none for SLURM. A pod knows itself by variables
that its manifest fills from the downward API (``deploy/k8s/job/job.yaml``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SLURM: Final = {
    "slurm.job.id": "SLURM_JOB_ID",
    "slurm.job.name": "SLURM_JOB_NAME",
    "slurm.job.partition": "SLURM_JOB_PARTITION",
    "slurm.job.account": "SLURM_JOB_ACCOUNT",
    "slurm.job.qos": "SLURM_JOB_QOS",
    "slurm.job.node_count": "SLURM_JOB_NUM_NODES",
    "slurm.job.restart_count": "SLURM_RESTART_COUNT",
    "slurm.array.job.id": "SLURM_ARRAY_JOB_ID",
    "slurm.array.task.id": "SLURM_ARRAY_TASK_ID",
    "slurm.cluster.name": "SLURM_CLUSTER_NAME",
}
"""Attributes of a job of SLURM by the variable that tells them."""

KUBERNETES: Final = {
    "k8s.pod.name": ("K8S_POD_NAME", "POD_NAME"),
    "k8s.pod.uid": ("K8S_POD_UID", "POD_UID"),
    "k8s.namespace.name": ("K8S_NAMESPACE_NAME", "POD_NAMESPACE"),
    "k8s.node.name": ("K8S_NODE_NAME", "NODE_NAME"),
    "k8s.container.name": ("K8S_CONTAINER_NAME",),
    "k8s.job.name": ("K8S_JOB_NAME", "JOB_NAME"),
    "k8s.cluster.name": ("K8S_CLUSTER_NAME",),
}
"""Attributes of a pod by the variables that may tell them; the first that is set counts."""

IN_SLURM: Final = "SLURM_JOB_ID"
IN_KUBERNETES: Final = "KUBERNETES_SERVICE_HOST"
"""Without it the other variables mean something else."""

MAX_CHARACTERS: Final = 255


def job_attributes(variables: Mapping[str, str]) -> dict[str, str]:
    """Resource attributes that the variables of SLURM and of a pod tell; empty outside both."""
    found: dict[str, str] = {}
    if variables.get(IN_SLURM, "").strip():
        found |= {name: variables.get(variable, "").strip() for name, variable in SLURM.items()}
    if variables.get(IN_KUBERNETES, "").strip():
        for name, given in KUBERNETES.items():
            found[name] = next((variables[each].strip() for each in given if variables.get(each, "").strip()), "")
    return {name: text[:MAX_CHARACTERS] for name, text in found.items() if text}


def attributes_of_run(stored: object, own: Mapping[str, str], *, is_first: bool) -> dict[str, str]:
    """Attributes of a run for a relay.

    Args:
        stored: what the first rank's process wrote to ``run.json``; anything else than an object counts as nothing.
        own: what the relay's own variables tell. They count where the run tells nothing, and on the run's other nodes,
            which have pods of their own; a relay of another job of SLURM delivers for the run and is no part of it.
        is_first: whether the relay is the one of rank 0.
    """
    if not isinstance(stored, dict):
        return dict(own)
    told = {str(name): str(value) for name, value in stored.items()}
    is_same = own.get("slurm.job.id") == told.get("slurm.job.id")
    return told if is_first or not is_same else {**told, **own}
