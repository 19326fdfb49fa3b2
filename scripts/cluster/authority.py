"""The lab's certificate authority, the certificate of its API server, and the file by which everyone reaches it."""

import json
import secrets
from pathlib import Path
from typing import Final

from scripts.cluster.places import API_SERVER, API_SERVICE_ADDRESS, KUBECONFIG, NODE, NODE_ADDRESS
from scripts.cluster.processes import run

_EC: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Certificates and tokens in a directory.

    Attributes:
        ca: the authority's certificate, which pods are given to check the API server by.
        certificate: the API server's.
        key: the API server's.
        service_accounts: the key that signs tokens of service accounts.
        tokens: the static tokens of the API server: one, of the administrator.
    """

    def __init__(self, directory: Path) -> None:
        """Write everything to ``directory``, and the kubeconfig."""
        directory.mkdir(parents=True)
        self.ca, ca_key = directory / "ca.crt", directory / "ca.key"
        self.certificate, self.key = directory / "api.crt", directory / "api.key"
        self.service_accounts = directory / "service-accounts.key"
        self.tokens = directory / "tokens.csv"
        run("openssl", "req", "-x509", *_EC, "-days", "2", "-subj", "/CN=lab", "-keyout", ca_key, "-out", self.ca)
        request, names = directory / "api.csr", directory / "api.names"
        hosts = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", NODE, "localhost"]
        addresses = [API_SERVICE_ADDRESS, NODE_ADDRESS, "127.0.0.1"]
        names.write_text(
            "subjectAltName=" + ",".join([*(f"DNS:{each}" for each in hosts), *(f"IP:{each}" for each in addresses)])
        )
        run("openssl", "req", *_EC, "-subj", "/CN=kube-apiserver", "-keyout", self.key, "-out", request)
        signed: list[str | Path] = [
            "-CA",
            self.ca,
            "-CAkey",
            ca_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            names,
        ]
        run("openssl", "x509", "-req", "-in", request, *signed, "-out", self.certificate)
        run("openssl", "genrsa", "-out", self.service_accounts, "2048")
        token = secrets.token_hex(16)
        self.tokens.write_text(f"{token},admin,admin,system:masters\n")
        KUBECONFIG.write_text(json.dumps(self._kubeconfig(token)))

    def _kubeconfig(self, token: str) -> dict[str, object]:
        cluster = {"server": API_SERVER, "certificate-authority": str(self.ca)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
            "current-context": "lab",
        }
