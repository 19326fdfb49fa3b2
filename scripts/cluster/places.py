"""Addresses of the lab, and directories of what it caches and of what it writes while it is up."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".tools" / "cluster"
BIN: Final = CACHE / "bin"
IMAGES: Final = CACHE / "images"
STATE: Final = ROOT / "out" / "cluster" / "state"
"""Removed when the lab goes down."""
LOGS: Final = ROOT / "out" / "cluster" / "logs"
"""Of the last lab; kept."""

NODE: Final = "lab"
NODE_ADDRESS: Final = "10.90.0.1"
API_SERVER: Final = f"https://{NODE_ADDRESS}:6443"
SERVICES: Final = "10.96.0.0/16"
API_SERVICE_ADDRESS: Final = "10.96.0.1"
DNS_ADDRESS: Final = "10.96.0.10"
PODS: Final = "10.88.0.0/16"
CGROUP: Final = "esper-lab"

KUBECONFIG: Final = STATE / "kubeconfig"
CONTAINERD: Final = "unix:///run/containerd/containerd.sock"
