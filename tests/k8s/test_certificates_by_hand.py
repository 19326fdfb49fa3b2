"""The certificates that the README makes without cert-manager are those that cert-manager would make."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.k8s.rendering import MANIFESTS, Rendered
from tests.tools import tool
from tests.waiting import PATIENCE_S

KUBECTL = '#!/bin/sh\nprintf "%s\\n" "$*" >> kubectl.log\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that the README's commands make with openssl; kubectl only logs its arguments."""
    directory = tmp_path_factory.mktemp("certificates")
    (directory / "kubectl").write_text(KUBECTL)
    (directory / "kubectl").chmod(0o755)
    readme = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^    openssl req -x509.*?(?=^\S)", readme, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["sh", "-euc", commands],
        cwd=directory,
        env={"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.parametrize("name", ["agent", "gateway"])
def test_a_certificate_has_the_names_that_cert_manager_would_give_it(name: str, made: Path, example: Rendered) -> None:
    certificate = made / f"{name}.crt"
    text = _openssl("x509", "-in", certificate, "-noout", "-ext", "subjectAltName")

    assert {*example.one("Certificate", f"esper-{name}-tls")["spec"]["dnsNames"]} <= {
        *re.findall(r"DNS:([^,\s]+)", text)
    }
    assert f"{certificate}: OK\n" == _openssl("verify", "-CAfile", made / "ca.crt", certificate)


def test_the_secrets_have_the_names_and_keys_that_the_manifests_mount(made: Path) -> None:
    created = (made / "kubectl.log").read_text().splitlines()
    files = "--from-file=tls.crt={0}.crt --from-file=tls.key={0}.key --from-file=ca.crt=ca.crt"

    assert [
        *(
            f"-n observability create secret generic esper-{name}-tls --type=kubernetes.io/tls {files.format(name)}"
            for name in ("agent", "gateway")
        ),
        "-n training create configmap esper-otlp-ca --from-file=ca.crt",
    ] == created


def _openssl(*arguments: str | Path) -> str:
    return subprocess.run([tool("openssl"), *arguments], check=True, capture_output=True, text=True).stdout
