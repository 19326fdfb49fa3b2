"""Servers listen on the loopback interface: asked of the kernel, and of every configuration that is shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy.stack.layout import layout
from deploy.stack.program import Settings
from deploy.stack.programs import programs
from deploy.stack.running import running
from tests.relay.processes import announced_url, relay
from tests.security.logs import ended_run
from tests.tools import ROOT, tool
from tests.waiting import PATIENCE_S

LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
LISTENS = "0A"


def listening(pid: int) -> set[str]:
    """Addresses, as the kernel spells them, that the process ``pid`` listens on."""
    links = (link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())
    inodes = {found[1] for link in links if (found := re.match(r"socket:\[(\d+)\]", str(link.readlink())))}
    rows = [
        row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENS and row[9] in inodes}


def test_a_relay_listens_on_loopback_alone(tmp_path: Path) -> None:
    run = ended_run(tmp_path / "run")
    with relay(run, "--linger", "300") as server:
        announced_url(run, server.pid)

        assert {"0100007F"} == listening(server.pid)


def test_a_relay_listens_where_it_is_told_to(tmp_path: Path) -> None:
    run = ended_run(tmp_path / "run")
    with relay(run, "--linger", "300", OTEL_EXPORTER_PROMETHEUS_HOST="::1") as server:
        assert announced_url(run, server.pid).startswith("http://[::1]:")

        assert {"00000000000000000000000001000000"} == listening(server.pid)


def test_an_address_of_another_machine_is_one_clear_line(tmp_path: Path) -> None:
    with relay(ended_run(tmp_path / "run"), OTEL_EXPORTER_PROMETHEUS_HOST="192.0.2.1") as server:
        _, said = server.communicate(timeout=PATIENCE_S)

    assert 2 == server.returncode
    assert "OTEL_EXPORTER_PROMETHEUS_HOST=192.0.2.1: no address of this machine" in said
    assert 1 == len(said.splitlines())


def test_the_stack_listens_on_loopback_alone_and_keeps_its_configuration_to_itself(tmp_path: Path) -> None:
    for name in ("prometheus", "prometheus-alertmanager", "otelcol-esper"):
        tool(name)
    left_out = frozenset({"tempo", "loki", "grafana"})
    settings = Settings(telemetry_dir=tmp_path, data_dir=tmp_path / "data", without=left_out, standard_ports=False)
    planned = programs(layout(settings))
    with running(planned, tmp_path / "log") as started:
        found = {name: listening(pid) for name, pid in started.pids.items()}

    assert {"prometheus", "alertmanager", "collector"} == set(found)
    for name, addresses in found.items():
        assert addresses, name
        assert addresses <= LOOPBACK, name
    written = [path for program in planned for path in program.files]
    assert {0o600} == {path.stat().st_mode & 0o777 for path in written}


@pytest.mark.parametrize(
    "path",
    [
        "collector/local.yaml",
        "collector/agent.yaml",
        "collector/gateway.yaml",
        "compose/tempo.yaml",
        "compose/loki.yaml",
    ],
)
def test_a_shipped_configuration_listens_on_loopback_unless_told_otherwise(path: str) -> None:
    text = (ROOT / "deploy" / path).read_text()
    addresses = re.findall(r"(?:endpoint|host|listen_address): (\$\{[^}]*\}[^\s]*|[\d.:]+)", text)
    defaults = [re.sub(r"\$\{(?:env:)?\w+:-([^}]*)\}", r"\1", address) for address in addresses]

    assert addresses
    assert all(address.startswith(("127.0.0.1", "http://", "dns:///$")) for address in defaults), defaults
    assert yaml.safe_load(text)


def test_no_shipped_configuration_uses_a_name_in_a_directory_that_all_may_write_to() -> None:
    files = [*(ROOT / "deploy" / "collector").glob("*.yaml"), ROOT / "deploy" / "compose.yaml"]

    assert {} == {path.name: found for path in files if (found := re.findall(r"/tmp/\S+", path.read_text()))}
