"""The node: its network, containerd, kubelet, kube-proxy and kube-router, which enforces network policies."""

import json
import os
from pathlib import Path
from typing import Final

from scripts.cluster.places import (
    BIN,
    CGROUP,
    CONTAINERD,
    DNS_ADDRESS,
    KUBECONFIG,
    NODE,
    NODE_ADDRESS,
    PODS,
    SERVICES,
    STATE,
)
from scripts.cluster.processes import Processes, run, tried

CTR: Final = ("ctr", "--namespace", "k8s.io")
CGROUPS: Final = Path("/sys/fs/cgroup")

# A machine without CAP_SYS_RESOURCE cannot lower a process's oom_score_adj: "can't get final child's PID from pipe".
_CONTAINERD: Final = """\
version = 2
root = "{state}/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
"""


def prepare_network() -> None:
    """An address for the node, a route for the addresses of services, and forwarding between pods."""
    # A pair, since a bridge without ports has no carrier.
    for command in (
        "ip link set lo up",
        "ip link add lab0 type veth peer name lab1",
        f"ip address add {NODE_ADDRESS}/24 dev lab0",
        "ip link set lab0 up",
        "ip link set lab1 up",
        "ip route add default dev lab0",
    ):
        run(*command.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def start_containerd(processes: Processes) -> None:
    """Start containerd with a bridge of its own for pods."""
    cni = STATE / "cni"
    cni.mkdir()
    addresses = {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "lab-pods", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    plugins = [{**bridge, "ipam": addresses}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    (cni / "10-lab.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "lab", "plugins": plugins}))
    settings = STATE / "containerd.toml"
    settings.write_text(_CONTAINERD.format(state=STATE))
    processes.start("containerd", "containerd", "--config", settings)
    processes.wait_until(lambda: tried([*CTR, "version"]), "containerd's answer")


def load_images(archives: list[Path]) -> None:
    """Give containerd the images."""
    for archive in archives:
        run(*CTR, "images", "import", archive)


def start(processes: Processes) -> None:
    """Start what makes a node of the machine."""
    for controller in CGROUPS.iterdir():
        if controller.is_dir():
            (controller / CGROUP).mkdir(exist_ok=True)
    kubelet, proxy = STATE / "kubelet.json", STATE / "kube-proxy.json"
    kubelet.write_text(json.dumps(_kubelet()))
    proxy.write_text(json.dumps(_proxy()))
    processes.start(
        *("kubelet", BIN / "kubelet", "--config", kubelet, "--kubeconfig", KUBECONFIG, "--node-ip", NODE_ADDRESS),
        *("--hostname-override", NODE, "--root-dir", STATE / "kubelet"),
    )
    processes.start("kube-proxy", BIN / "kube-proxy", "--config", proxy)


def start_policies(processes: Processes) -> None:
    """Start what enforces network policies; it asks for its node, which must be there."""
    processes.start(
        *("kube-router", BIN / "kube-router", "--kubeconfig", KUBECONFIG, "--hostname-override", NODE),
        *("--run-firewall=true", "--run-router=false", "--run-service-proxy=false"),
        *("--service-cluster-ip-range", SERVICES),
        env={**os.environ, "NODE_NAME": NODE},
    )


def _kubelet() -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": CONTAINERD,
        "failSwapOn": False,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": str(STATE / "pod-logs"),
        "resolvConf": "",
    }


def _proxy() -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(KUBECONFIG)},
        "clusterCIDR": PODS,
        # The machine's table of connections is left as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        "hostnameOverride": NODE,
        "mode": "iptables",
        "oomScoreAdj": 0,
    }
