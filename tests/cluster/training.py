"""Training jobs in the cluster: the shipped Job with another program, a name, and a claim in place of the emptyDir.

The claim keeps the log of the run, which is what the arrivals are compared with.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
from functools import cache
from pathlib import Path

import yaml

from scripts.cluster.places import NODE, STATE
from tests.cluster.kubectl import TRAINING, apply, container_of, kubectl, objects, one
from tests.k8s.rendering import MANIFESTS, Object
from tests.waiting import wait_for

PROGRAM = Path(__file__).parent / "rounds.py"
LAB = MANIFESTS / "overlays" / "lab"


@cache
def shipped() -> Object:
    """The Job of the lab's overlay."""
    (job,) = yaml.safe_load_all(kubectl("kustomize", str(LAB / "job")))
    return job


class Training:
    """One Job, without retries.

    Attributes:
        name: the Job's.
        pod_name: its first pod's, which is the run's id.
    """

    def __init__(self, name: str, *, rounds: int = 30, memory: str = "", metrics: str = "", **environment: str) -> None:
        """Create it, and wait for its pod.

        Args:
            name: its name.
            rounds: rounds of a second each.
            memory: limit of the trainer's memory, in place of the shipped one.
            metrics: where the relay's metrics go, in place of the shipped way.
            environment: of the program (tests/cluster/rounds.py).
        """
        self.name = name
        self.directory = STATE / "volumes" / name
        self.directory.mkdir()
        job = copy.deepcopy(shipped())
        job["metadata"]["name"] = name
        job["spec"]["backoffLimit"] = 0
        pod = job["spec"]["template"]["spec"]
        (relay,), (trainer,) = pod["initContainers"], pod["containers"]
        trainer["command"], trainer["args"] = ["python", "/program/rounds.py"], ["/telemetry", str(rounds)]
        trainer["env"] += [{"name": key, "value": value} for key, value in environment.items()]
        trainer["volumeMounts"].append({"name": "program", "mountPath": "/program", "readOnly": True})
        if memory:
            trainer["resources"] = {"requests": {"memory": memory}, "limits": {"memory": memory}}
        for variable in relay["env"]:
            if metrics and variable["name"] == "OTEL_METRICS_EXPORTER":
                variable["value"] = metrics
        (volume,) = [each for each in pod["volumes"] if each["name"] == "telemetry"]
        volume.pop("emptyDir")
        volume["persistentVolumeClaim"] = {"claimName": name}
        pod["volumes"].append({"name": "program", "configMap": {"name": "program"}})
        apply(_config_map(), *_claimed(name, self.directory))
        kubectl("create", "-f", "-", given=yaml.safe_dump(job))
        self.pod_name = wait_for(self._first_pod, f"the pod of {name}", every_s=0.2)

    def _first_pod(self) -> str | None:
        pods = self.pods()
        return min(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])["metadata"]["name"] if pods else None

    def pods(self) -> list[Object]:
        """Its pods, those that have failed too."""
        return objects("pods", TRAINING, f"batch.kubernetes.io/job-name={self.name}")

    @property
    def pod(self) -> Object:
        """Its first pod."""
        return one("pod", TRAINING, self.pod_name)

    @property
    def run(self) -> Path:
        """Directory of the run of the first pod, on the node."""
        return self.directory / self.pod_name

    def wait_for_round(self, number: int) -> None:
        """Wait until a round is over."""

        def is_over() -> bool:
            said = ["kubectl", "-n", TRAINING, "logs", self.pod_name, "-c", "trainer"]
            return f"round {number}\n" in subprocess.run(said, capture_output=True, text=True).stdout

        wait_for(is_over, f"round {number} of {self.name}", every_s=0.5)

    def kill(self) -> None:
        """Kill the trainer as the kernel would."""
        kill(container_of(self.pod, "trainer"))

    def end(self) -> str:
        """Wait until the Job has ended: Complete or Failed."""
        return wait_for(self._ended, f"the end of {self.name}", every_s=1.0)

    def _ended(self) -> str | None:
        conditions = one("job", TRAINING, self.name)["status"].get("conditions", [])
        return next(
            (
                each["type"]
                for each in conditions
                if each["type"] in ("Complete", "Failed") and each["status"] == "True"
            ),
            None,
        )

    def deliver_later(self) -> str:
        """Run the sidecar's relay once more on the claim of the first pod; the phase in which its pod ends."""
        template = one("job", TRAINING, self.name)["spec"]["template"]
        labels = {key: value for key, value in template["metadata"]["labels"].items() if key.startswith("app.")}
        pod = copy.deepcopy(template["spec"])
        (relay,) = pod.pop("initContainers")
        relay.pop("restartPolicy")
        relay["args"] = ["--linger", "0"]
        for variable in relay["env"]:
            if variable["name"] == "ESPER_OTEL_RUN_ID":
                variable.pop("valueFrom")
                variable["value"] = self.pod_name
        pod["containers"] = [relay]
        name = f"{self.name}-later"
        metadata = {"name": name, "namespace": TRAINING, "labels": labels}
        apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})

        def ended() -> str | None:
            phase: str = one("pod", TRAINING, name)["status"]["phase"]
            return phase if phase in ("Succeeded", "Failed") else None

        return wait_for(ended, f"the end of {name}", every_s=1.0)

    def wait_for_deletion(self) -> None:
        """Wait until its first pod is gone."""
        wait_for(
            lambda: self.pod_name not in [pod["metadata"]["name"] for pod in self.pods()],
            f"the end of {self.pod_name}",
            every_s=0.5,
        )


def kill(container: Object) -> None:
    """Kill the first process of a container by SIGKILL."""
    identity = container["containerID"].partition("//")[2]
    tasks = subprocess.run(["ctr", "-n", "k8s.io", "tasks", "ls"], capture_output=True, text=True, check=True).stdout
    (pid,) = [int(line.split()[1]) for line in tasks.splitlines() if line.startswith(identity)]
    os.kill(pid, signal.SIGKILL)


def _config_map() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "program", "namespace": TRAINING},
        "data": {PROGRAM.name: PROGRAM.read_text(encoding="utf-8")},
    }


def _claimed(name: str, directory: Path) -> list[Object]:
    size = {"storage": "1Gi"}
    there = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    volume = {
        "capacity": size,
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local",
        "claimRef": {"namespace": TRAINING, "name": name},
        "local": {"path": str(directory)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [there]}]}},
    }
    claim = {"accessModes": ["ReadWriteOnce"], "volumeName": name, "resources": {"requests": size}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": TRAINING},
            "spec": {**claim, "storageClassName": "local"},
        },
    ]
