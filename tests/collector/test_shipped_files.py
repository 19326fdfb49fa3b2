"""The shipped configurations are valid, and the manifest has what they use and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.collector.certificates import write_certificates
from tests.collector.collectors import CONFIGURATIONS
from tests.tools import ROOT, tool
from tests.waiting import PATIENCE_S

KINDS = ("agent", "gateway", "local")
LAID_OVER = {"agent-kafka": "agent", "gateway-kafka": "gateway", "clickhouse": "gateway"}
"""Files that are merged over another one, by their names."""

SECTIONS = ("receivers", "processors", "exporters", "connectors", "extensions")


def variables_of(kind: str) -> dict[str, str | None]:
    """Variables that a file reads, with their defaults, None for one that has to be set."""
    return variables_in((CONFIGURATIONS / f"{kind}.yaml").read_text())


def variables_in(text: str) -> dict[str, str | None]:
    """The same of a text."""
    found = re.findall(r"\$\{env:(\w+)(:-[^}]*)?\}", text)
    return {name: default.removeprefix(":-") if default else None for name, default in found} | {"K8S_NODE_NAME": None}


def validate(kind: str, directory: Path, *overlays: Path) -> tuple[int, str]:
    """Exit status and output of the collector's own check."""
    text = "".join(file.read_text() for file in (CONFIGURATIONS / f"{kind}.yaml", *overlays))
    must_be_set = {name: "localhost" for name, default in variables_in(text).items() if default is None}
    password = directory / "password"
    password.write_text("what-kafka-asks-for")
    files_named = {"COLLECTOR_TLS_DIR": str(directory), "COLLECTOR_KAFKA_PASSWORD_FILE": str(password)}
    environment = {**os.environ, **must_be_set, **files_named}
    files = [f"--config={file}" for file in (CONFIGURATIONS / f"{kind}.yaml", *overlays)]
    command = [tool("otelcol-esper"), "validate", *files]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_the_collector_finds_no_fault_in_a_shipped_file(kind: str, tmp_path: Path) -> None:
    assert (0, "") == validate(kind, write_certificates(tmp_path / "tls"))


@pytest.mark.parametrize("name", LAID_OVER)
def test_the_collector_finds_no_fault_in_a_file_that_is_laid_over_another(name: str, tmp_path: Path) -> None:
    overlay = CONFIGURATIONS / f"{name}.yaml"

    assert (0, "") == validate(LAID_OVER[name], write_certificates(tmp_path / "tls"), overlay)


def test_the_collector_does_find_a_fault(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("exporters: {prometheus: {metric_expiry: 5m}}\n")

    status, said = validate("local", tmp_path, overlay)

    assert status != 0
    assert "metric_expiry" in said


def used(kind: str) -> set[tuple[str, str]]:
    """Section and type of every component that a file's service starts."""
    file = yaml.safe_load((CONFIGURATIONS / f"{kind}.yaml").read_text())
    configured = {(section, name.split("/")[0]) for section in SECTIONS for name in file.get(section) or {}}
    names = {
        (section, name)
        for pipeline in file["service"]["pipelines"].values()
        for section in pipeline
        for name in pipeline[section]
    } | {("extensions", name) for name in file["service"].get("extensions", ())}
    started = {(section, name.split("/")[0]) for section, name in names if not name.startswith("$")}
    chosen_by_variable = {component for component in configured if component[1] in {"nop", "otlp_http"}}
    if kind in LAID_OVER:
        assert configured - chosen_by_variable <= started <= configured | used(LAID_OVER[kind])
        return configured
    assert configured == started | (chosen_by_variable if kind == "local" else set())
    return configured


def test_the_manifest_has_exactly_the_components_that_the_files_use(tmp_path: Path) -> None:
    said = subprocess.run([tool("otelcol-esper"), "components"], capture_output=True, text=True, check=True).stdout
    built = yaml.safe_load(said)
    in_binary = {(section, component["name"]) for section in SECTIONS for component in built.get(section) or ()}

    assert set().union(*map(used, (*KINDS, *LAID_OVER))) == in_binary


def test_the_binary_was_built_from_this_manifest() -> None:
    manifest = yaml.safe_load((CONFIGURATIONS / "builder.yaml").read_text())
    modules = {entry["gomod"].split()[0] for section in SECTIONS for entry in manifest.get(section) or ()}
    said = subprocess.run([tool("otelcol-esper"), "components"], capture_output=True, text=True, check=True).stdout
    built = yaml.safe_load(said)

    assert modules == {c["module"].split()[0] for section in SECTIONS for c in built.get(section) or ()}
    assert manifest["dist"]["version"] == built["buildinfo"]["version"]


def test_all_parts_of_the_manifest_are_of_one_release() -> None:
    manifest = yaml.safe_load((CONFIGURATIONS / "builder.yaml").read_text())
    version = manifest["dist"]["version"]
    sections = [section for name, section in manifest.items() if name not in {"dist", "replaces"}]
    parts = [entry["gomod"].split() for section in sections for entry in section]
    versions = {pinned for module, pinned in parts if "/confmap/" not in module}

    assert {f"v{version}"} == versions


@pytest.mark.parametrize("kind", [*KINDS, *LAID_OVER])
def test_every_variable_of_a_file_is_described(kind: str) -> None:
    described = set(re.findall(r"`(\w+)`", (CONFIGURATIONS / "README.md").read_text()))

    assert set(variables_of(kind)) <= described


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_listens_on_loopback_unless_told_otherwise(kind: str) -> None:
    addresses = {name: value for name, value in variables_of(kind).items() if name in {"POD_IP", "COLLECTOR_LISTEN"}}
    text = (CONFIGURATIONS / f"{kind}.yaml").read_text()

    assert {"127.0.0.1"} == set(addresses.values())
    assert not re.search(r"0\.0\.0\.0|::", text)


def test_tools_builds_the_collector() -> None:
    assert "scripts/collector.sh" in (ROOT / "Makefile").read_text()
