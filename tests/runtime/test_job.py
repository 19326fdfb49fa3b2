"""The job of SLURM or Kubernetes in the resource of what is sent, whoever delivers it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import k8s_attributes

from esper_otel.relay.options import resource_defaults
from esper_otel.runtime.job import KUBERNETES, attributes_of_run, job_attributes

JOB = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "ppo", "SLURM_JOB_PARTITION": "gpu", "SLURM_ARRAY_TASK_ID": "3"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_NAME": "ppo-0", "POD_NAMESPACE": "team", "NODE_NAME": "n1"}


def test_a_job_of_slurm_is_told_by_its_variables() -> None:
    assert job_attributes(JOB) == {
        "slurm.job.id": "17",
        "slurm.job.name": "ppo",
        "slurm.job.partition": "gpu",
        "slurm.array.task.id": "3",
    }


def test_a_pod_is_told_by_the_names_of_the_conventions() -> None:
    names = {value for name, value in vars(k8s_attributes).items() if isinstance(value, str) and name.isupper()}

    assert job_attributes(POD) == {"k8s.pod.name": "ppo-0", "k8s.namespace.name": "team", "k8s.node.name": "n1"}
    assert set(KUBERNETES) <= names


@pytest.mark.parametrize("absent", ["SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST"])
def test_variables_that_are_left_over_from_elsewhere_tell_nothing(absent: str) -> None:
    variables = {name: value for name, value in (JOB if absent in JOB else POD).items() if name != absent}

    assert job_attributes(variables) == {}
    assert job_attributes({}) == {}


@pytest.mark.parametrize(
    ("stored", "own", "is_first", "name"),
    [
        ({"slurm.job.name": "a"}, {}, True, "a"),
        ({"slurm.job.id": "1", "slurm.job.name": "a"}, {"slurm.job.id": "2", "slurm.job.name": "b"}, False, "a"),
        ({"slurm.job.id": "1", "slurm.job.name": "a"}, {"slurm.job.id": "1", "slurm.job.name": "b"}, False, "b"),
        (None, {"slurm.job.name": "b"}, True, "b"),
        ("nonsense", {}, True, None),
    ],
    ids=["of the run", "a relay of another job", "another node of the job", "the run tells nothing", "damaged"],
)
def test_the_run_tells_its_job_and_other_nodes_add_their_own(
    stored: object, own: dict[str, str], is_first: bool, name: str | None
) -> None:
    assert attributes_of_run(stored, own, is_first=is_first).get("slurm.job.name") == name


def test_the_resource_of_a_relay_has_the_job_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    (tmp_path / "run.json").write_text(json.dumps({"job": job_attributes(JOB)}))

    assert resource_defaults("run", directory=tmp_path)["slurm.job.id"] == "17"
    assert resource_defaults("run", directory=tmp_path / "none")["slurm.job.id"] == "99"
