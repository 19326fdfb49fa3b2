"""The first process of the lab's namespaces: brings the cluster up and runs a command beside it.

Network, mounts and processes are the lab's own. They end with this process, however it ends.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from scripts.cluster import control_plane, images, node
from scripts.cluster.authority import Authority
from scripts.cluster.places import BIN, KUBECONFIG, LOGS, NODE, NODE_ADDRESS, ROOT, STATE
from scripts.cluster.processes import LabError, Processes, run, tried

# Settings of the kernel that the kubelet would change for the whole machine: it finds the values that it wants.
_SHARED_SETTINGS: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def main(command: list[str]) -> int:
    """Exit status of ``command``, run with the cluster up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        _isolate()
        processes = up()
    except LabError as error:
        print(f"error: the lab does not come up: {error}", file=sys.stderr)
        return 1
    pids = ",".join(f"{name}={pid}" for name, pid in processes.pids().items())
    environment = {
        **os.environ,
        "KUBECONFIG": str(KUBECONFIG),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ESPER_LAB_UP_S": f"{time.monotonic() - began:.0f}",
        "ESPER_LAB_PIDS": pids,
        # Everything that a test talks to is in the lab.
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), ""),
    }
    print(f"the lab is up after {environment['ESPER_LAB_UP_S']} s", file=sys.stderr)
    try:
        return subprocess.run(command, check=False, env=environment, cwd=ROOT).returncode
    except KeyboardInterrupt:
        return 130


def up() -> Processes:
    """Start everything and wait until the node is ready and names are resolved."""
    processes = Processes(LOGS)
    node.prepare_network()
    authority = Authority(STATE / "authority")
    node.start_containerd(processes)
    control_plane.start(processes, authority)
    node.load_images(images.archives())
    node.start(processes)
    kubectl = control_plane.KUBECTL
    local_volumes = STATE / "volumes"
    local_volumes.mkdir()
    objects = (ROOT / "scripts" / "cluster" / "objects.yaml").read_text(encoding="utf-8")
    run(*kubectl, "apply", "--server-side", "-f", "-", given=objects.replace("$VOLUMES", str(local_volumes)))
    for name in ("gateway-0", "gateway-1", "gateway-2"):
        (local_volumes / name).mkdir()
    ready: list[str | Path] = [*kubectl, "wait", "--timeout=1s", "--for=condition=Ready", f"node/{NODE}"]
    processes.wait_until(lambda: tried(ready), "the node's readiness")
    node.start_policies(processes)
    names: list[str | Path] = [*kubectl, "-n", "kube-system", "rollout", "status", "--timeout=1s", "deployment/coredns"]
    processes.wait_until(lambda: tried(names), "the readiness of the cluster's DNS")
    return processes


def _isolate() -> None:
    """Give the lab places of its own under the names that its programs know."""
    hosts = STATE / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{NODE_ADDRESS} {NODE}\n")
    (STATE / "log").mkdir()
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("mount", "--bind", STATE / "log", "/var/log")
    run("mount", "--bind", hosts, "/etc/hosts")
    for name, value in _SHARED_SETTINGS.items():
        setting, shown = Path("/proc/sys") / name, STATE / name.replace("/", ".")
        shown.write_text(f"{value}\n")
        if setting.exists():
            run("mount", "--bind", shown, setting)
    run("hostname", NODE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
