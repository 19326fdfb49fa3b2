"""What ``make up`` starts, as the library behind ``docker compose config`` understands it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.alertmanager.build import CHAT_URL, PAGER_KEY
from deploy.stack.compose import MOUNTED, WEBHOOK_TOKEN, closed, prepare
from deploy.stack.scraping import COMPOSE_RULES
from tests.alerts.promtool import promtool
from tests.tools import ROOT, python_environment, tool

COMPOSE = ROOT / "deploy" / "compose.yaml"
LOADER = Path(__file__).parent / "composeconfig"
SERVICES = ("alertmanager", "collector", "collector-health", "grafana", "loki", "prometheus", "tempo")
PREPARE = "import pathlib, sys; from deploy.stack.compose import prepare; prepare(pathlib.Path(sys.argv[1]), {})"
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+")


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The loader's answer; its modules come from the Go proxy, pinned by ``go.sum``."""
    program = tmp_path_factory.mktemp("composeconfig") / "composeconfig"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    command = [tool("go"), "build", "-p", "2", "-o", str(program), "."]
    built = subprocess.run(command, cwd=LOADER, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return subprocess.run([program, str(COMPOSE)], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})


@pytest.fixture(scope="session")
def project(loaded: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert loaded.returncode == 0, loaded.stderr
    found: dict[str, Any] = json.loads(loaded.stdout)
    return found


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, project: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = project["services"][request.param]
    return found


def test_compose_has_no_complaint(loaded: subprocess.CompletedProcess[str]) -> None:
    assert (0, "") == (loaded.returncode, loaded.stderr)


def test_these_are_all_services(project: dict[str, Any]) -> None:
    assert sorted(SERVICES) == sorted(project["services"])


def test_an_image_is_pinned(service: dict[str, Any]) -> None:
    assert PINNED.fullmatch(service["image"])


def test_what_is_published_is_on_loopback(project: dict[str, Any]) -> None:
    ports = [port for service in project["services"].values() for port in service.get("ports", [])]

    assert {"127.0.0.1"} == {port["host_ip"] for port in ports}


def test_a_service_can_do_little_harm(service: dict[str, Any]) -> None:
    assert service["read_only"]
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert not service.get("privileged", False)
    assert int(service["user"].partition(":")[0]) > 0
    assert 0 < int(service["mem_limit"]) <= 4 * 1024**3


def test_a_service_says_whether_it_is_healthy_or_another_one_does(
    service: dict[str, Any], project: dict[str, Any]
) -> None:
    if "healthcheck" not in service:
        asked = project["services"]["collector-health"]["healthcheck"]["test"][-1]
        assert asked == "http://collector:13133/"
    else:
        assert "CMD" == service["healthcheck"]["test"][0]
        assert "start_interval" not in service["healthcheck"], "needs Docker Engine 25; Debian 12 has 20.10"


def test_prometheus_is_asked_in_a_way_that_every_version_answers(project: dict[str, Any]) -> None:
    *command, address = project["services"]["prometheus"]["healthcheck"]["test"]

    assert ["CMD", "wget", "-q", "-O", "/dev/null"] == command, (
        "promtool of 2.42, which is enough for the rules, cannot ask"
    )
    assert address == "http://localhost:9090/-/ready"


def test_what_comes_from_the_repository_exists_and_is_read_only(project: dict[str, Any], tmp_path: Path) -> None:
    prepare(tmp_path, {})
    made = ROOT / "out" / "compose"
    binds = [bind for service in project["services"].values() for bind in service.get("volumes", [])]
    sources = [Path(bind["source"]) for bind in binds if bind["type"] == "bind"]
    sources = [tmp_path / path.relative_to(made) if path.is_relative_to(made) else path for path in sources]

    assert [] == [path for path in sources if not path.exists()]
    assert all(bind["read_only"] for bind in binds if bind["type"] == "bind")


def test_what_servers_know_is_kept_in_a_volume(project: dict[str, Any]) -> None:
    kept = {
        name
        for name, service in project["services"].items()
        for volume in service.get("volumes", [])
        if volume["type"] == "volume"
    }

    assert set(SERVICES) - {"collector-health"} == kept == set(project["volumes"])


def test_the_collector_is_that_of_the_builder_manifest(project: dict[str, Any]) -> None:
    manifest = yaml.safe_load((ROOT / "deploy" / "collector" / "builder.yaml").read_text(encoding="utf-8"))

    assert f"otelcol-esper:{manifest['dist']['version']}" == project["services"]["collector"]["image"]


@pytest.mark.parametrize(
    ("name", "file"),
    [("collector", "collector/local.yaml"), ("tempo", "compose/tempo.yaml"), ("loki", "compose/loki.yaml")],
)
def test_every_variable_that_is_set_is_read_by_the_configuration(project: dict[str, Any], name: str, file: str) -> None:
    text = (ROOT / "deploy" / file).read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{(?:env:)?([A-Z_]+):-", text))

    assert set(project["services"][name]["environment"]) <= read


def test_grafana_lets_nobody_in_without_the_password_of_the_secret(project: dict[str, Any]) -> None:
    environment = project["services"]["grafana"]["environment"]

    assert "false" == environment["GF_AUTH_ANONYMOUS_ENABLED"]
    assert "$__file{/run/secrets/grafana_admin_password}" == environment["GF_SECURITY_ADMIN_PASSWORD"]


def test_prometheus_has_no_complaint_and_scrapes_services_that_exist(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "compose" / "prometheus.yml").read_text(encoding="utf-8")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace(COMPOSE_RULES, str(ROOT / "deploy" / "prometheus")))
    targets = re.findall(r'- "([\w-]+):\d+"', text)

    status, said = promtool("check", "config", file)

    assert status == 0, said
    assert set(targets) <= {*SERVICES, "localhost"}


def test_the_password_is_made_up_once_and_closed_to_other_users(tmp_path: Path) -> None:
    first = prepare(tmp_path / "compose", {}).read_text()

    assert first == prepare(tmp_path / "compose", {}).read_text()
    assert len(first) > 20
    assert 0o700 == (tmp_path / "compose").stat().st_mode & 0o777


def test_a_containers_user_can_read_what_is_prepared_whatever_the_umask(tmp_path: Path) -> None:
    directory = tmp_path / "compose"
    command = ["sh", "-c", 'umask 077; exec "$0" "$@"', sys.executable, "-c", PREPARE, str(directory)]
    prepared = subprocess.run(command, cwd=ROOT, env=python_environment(), capture_output=True, text=True)

    assert (0, "") == (prepared.returncode, prepared.stderr)
    assert {
        "alertmanager.yml": 0o644,
        "grafana_admin_password": 0o644,
        "secrets": 0o755,
    } == {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}


def test_what_containers_read_and_their_users_cannot_is_found(tmp_path: Path) -> None:
    for place in MOUNTED:
        (tmp_path / place).mkdir(parents=True)
    file, folder = tmp_path / MOUNTED[0] / "local.yaml", tmp_path / MOUNTED[-1]
    file.touch(0o600)
    (tmp_path / MOUNTED[1] / "tempo.yaml").touch(0o644)
    folder.chmod(0o700)

    assert [file, folder] == [tmp_path / path for path in closed(tmp_path)]


def test_every_file_of_the_repository_that_is_mounted_is_looked_at(project: dict[str, Any]) -> None:
    binds = [bind for service in project["services"].values() for bind in service.get("volumes", [])]
    sources = {Path(bind["source"]).relative_to(ROOT) for bind in binds if bind["type"] == "bind"}

    places = {path for path in sources if not path.is_relative_to("out")}
    assert set() == {path for path in places if not any(path.is_relative_to(place) for place in MOUNTED)}


def test_git_ignores_what_is_made_up() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", "out/compose/grafana_admin_password"], cwd=ROOT)

    assert ignored.returncode == 0


def test_amtool_has_no_complaint_about_what_is_prepared(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in (PAGER_KEY, CHAT_URL, WEBHOOK_TOKEN):
        (secrets / name).write_text("https://example.invalid/secret")
    prepare(tmp_path, {"ESPER_ALERT_WEBHOOK_URL": "http://host.docker.internal:9/alerts"})
    file = tmp_path / "alertmanager.yml"

    checked = subprocess.run([tool("amtool"), "check-config", str(file)], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr
    assert {"routing_key_file", "api_url_file", "credentials_file"} <= set(re.findall(r"\w+_file", file.read_text()))
    assert "invalid/secret" not in file.read_text()
