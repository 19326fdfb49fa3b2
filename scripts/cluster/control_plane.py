"""etcd and Kubernetes' control plane, on the node's address."""

from pathlib import Path
from typing import Final

from scripts.cluster.authority import Authority
from scripts.cluster.places import BIN, KUBECONFIG, NODE_ADDRESS, PODS, SERVICES, STATE
from scripts.cluster.processes import Processes, tried

KUBECTL: Final[tuple[str | Path, ...]] = (BIN / "kubectl", "--kubeconfig", KUBECONFIG)


def start(processes: Processes, authority: Authority) -> None:
    """Start it and wait until the API answers."""
    # What the lab stores is thrown away: without fsync it does not wait for a shared disk.
    processes.start("etcd", "etcd", "--data-dir", STATE / "etcd", "--unsafe-no-fsync", "--log-level", "warn")
    processes.start(
        "kube-apiserver",
        BIN / "kube-apiserver",
        *_flags(
            etcd_servers="http://127.0.0.1:2379",
            bind_address="0.0.0.0",
            advertise_address=NODE_ADDRESS,
            service_cluster_ip_range=SERVICES,
            tls_cert_file=authority.certificate,
            tls_private_key_file=authority.key,
            token_auth_file=authority.tokens,
            authorization_mode="RBAC",
            allow_privileged="true",
            service_account_issuer="https://kubernetes.default.svc",
            service_account_key_file=authority.service_accounts,
            service_account_signing_key_file=authority.service_accounts,
            kubelet_preferred_address_types="InternalIP",
        ),
    )
    processes.wait_until(lambda: tried([*KUBECTL, "get", "--raw", "/readyz"]), "the API server's readiness")
    processes.start(
        "kube-controller-manager",
        BIN / "kube-controller-manager",
        *_flags(
            kubeconfig=KUBECONFIG,
            root_ca_file=authority.ca,
            service_account_private_key_file=authority.service_accounts,
            leader_elect="false",
            cluster_cidr=PODS,
        ),
    )
    processes.start("kube-scheduler", BIN / "kube-scheduler", *_flags(kubeconfig=KUBECONFIG, leader_elect="false"))


def _flags(**flags: str | Path) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
