"""The stack of binaries: what it needs, what it runs, and that it ends as a whole."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.stack.layout import PORTS, Layout, layout
from deploy.stack.program import Ports, Program, Settings, StackError
from deploy.stack.programs import programs
from deploy.stack.running import running
from deploy.stack.scraping import Way
from tests.alerts.promtool import promtool
from tests.tools import ROOT, python_environment, tool
from tests.waiting import PATIENCE_S, wait_for

SMALL = frozenset({"collector", "tempo", "loki", "grafana"})


def asked(tmp_path: Path, **changes: object) -> Settings:
    known = {"telemetry_dir": tmp_path / "telemetry", "data_dir": tmp_path / "data", "standard_ports": False}
    return Settings(**(known | changes))  # type: ignore[arg-type]


def imagined(tmp_path: Path, way: Way, *names: str) -> Layout:
    """A stack of programs that are never started."""
    ports = Ports(standard=False)
    return Layout(
        settings=asked(tmp_path, way=way),
        executables={name: f"/imagined/{name}" for name in names},
        ports={what: ports.take(usual) for name in names for what, usual in PORTS[name].items()},
    )


def declared(at: Layout, name: str) -> Program:
    return next(program for program in programs(at) if program.name == name)


def small_stack(tmp_path: Path) -> Layout:
    for name in ("prometheus", "prometheus-alertmanager"):
        tool(name)
    return layout(asked(tmp_path, without=SMALL))


@pytest.mark.parametrize(
    ("missing", "way"),
    [("prometheus", Way.SCRAPE), ("alertmanager", Way.SCRAPE), ("collector", Way.OTLP)],
)
def test_a_program_that_is_needed_and_missing_is_named_with_how_to_get_it(
    tmp_path: Path, missing: str, way: Way
) -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        tool(name)

    expected = rf"is not on the PATH: install it with 'make tools'.* or use --{missing} PATH"
    with pytest.raises(StackError, match=expected):
        layout(asked(tmp_path, way=way, without=frozenset({missing})))


def test_an_executable_that_is_asked_for_and_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="--loki /nowhere/loki: there is no such program"):
        layout(asked(tmp_path, executables={"loki": "/nowhere/loki"}))


@pytest.mark.parametrize("way", list(Way))
def test_the_metrics_of_runs_come_by_one_way_alone(tmp_path: Path, way: Way) -> None:
    at = imagined(tmp_path, way, "prometheus", "alertmanager", "collector")
    (text,) = declared(at, "prometheus").files.values()
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}

    assert (way is Way.SCRAPE) == ("file_sd_configs" in jobs["runs"])
    assert (way is Way.OTLP) == (at.address("exporter") in text)
    assert 1 == text.count("file_sd_configs") + text.count("honor_labels")


@pytest.mark.parametrize("way", list(Way))
def test_promtool_has_no_complaint_about_the_configuration_with_the_shipped_rules(tmp_path: Path, way: Way) -> None:
    at = imagined(tmp_path, way, "prometheus", "alertmanager", "collector")
    ((path, text),) = declared(at, "prometheus").files.items()
    path.parent.mkdir()
    path.write_text(text)

    status, said = promtool("check", "config", path)

    assert status == 0, said
    assert {str(ROOT / "deploy" / "prometheus" / name) for name in ("rules.yml", "recording.yml")} == set(
        yaml.safe_load(text)["rule_files"]
    )


def test_alerts_link_to_the_grafana_of_the_stack(tmp_path: Path) -> None:
    at = imagined(tmp_path, Way.SCRAPE, "prometheus", "alertmanager", "grafana")
    rules = next(text for path, text in declared_without_home(at).items() if path.name == "rules.yml")

    assert {at.url("grafana")} == set(re.findall(r'dashboard_url: "(http://[^/]+)/', rules))


def declared_without_home(at: Layout) -> dict[Path, str]:
    """Files of Prometheus; Grafana itself cannot be declared where it is not installed."""
    home = at.data("home")
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "defaults.ini").touch()
    settings = Settings(
        telemetry_dir=at.settings.telemetry_dir, data_dir=at.settings.data_dir, grafana_home=home, standard_ports=False
    )
    found = Layout(settings=settings, executables=at.executables, ports=at.ports)
    return dict(declared(found, "prometheus").files)


def test_every_variable_that_the_collector_is_given_is_read_by_its_configuration(tmp_path: Path) -> None:
    at = imagined(tmp_path, Way.SCRAPE, "prometheus", "alertmanager", "collector", "tempo", "loki")
    text = (ROOT / "deploy" / "collector" / "local.yaml").read_text(encoding="utf-8")

    assert set(declared(at, "collector").environment) == set(re.findall(r"\$\{env:([A-Z_]+):-", text)) - {
        "COLLECTOR_QUEUE_BYTES"
    }


def test_a_program_that_dies_is_named_with_its_last_words_and_takes_the_others_with_it(tmp_path: Path) -> None:
    at = small_stack(tmp_path)
    pids: dict[str, int] = {}

    with (
        pytest.raises(StackError, match=r"prometheus ended by signal 9\. The end of .*prometheus\.log:\n"),
        running(programs(at), at.data("log")) as stack,
    ):
        pids = stack.pids
        os.kill(pids["prometheus"], signal.SIGKILL)
        stack.watch()

    assert {"alertmanager", "prometheus"} == set(pids)
    assert [] == [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()]


def test_a_program_that_does_not_start_is_named(tmp_path: Path) -> None:
    tool("prometheus")
    at = layout(asked(tmp_path, without=SMALL, executables={"alertmanager": "false"}))

    with (
        pytest.raises(StackError, match="alertmanager ended with exit status 1"),
        running(programs(at), at.data("log")),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_to_look_and_stops_everything_when_it_is_told_to(
    tmp_path: Path, number: signal.Signals
) -> None:
    for name in ("prometheus", "prometheus-alertmanager", "otelcol-esper"):
        tool(name)
    places = ["--telemetry-dir", str(tmp_path / "telemetry"), "--data", str(tmp_path / "data")]
    left_out = [part for name in ("tempo", "loki", "grafana") for part in ("--without", name)]
    command = [sys.executable, "-m", "deploy.stack", "--free-ports", *places, *left_out]
    said = tmp_path / "said"
    with said.open("w") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, env=python_environment()) as stack:
        try:
            wait_for(lambda: "  not started " in said.read_text() or stack.poll() is not None, "the start of the stack")
            children = Path(f"/proc/{stack.pid}/task/{stack.pid}/children").read_text().split()
        finally:
            stack.send_signal(number)
        assert 0 == stack.wait(PATIENCE_S)

    assert 3 == len(children)
    assert [] == [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert re.search(r"queries and alerts +http://127\.0\.0\.1:\d+/alerts", said.read_text())
    assert re.search(r"export OTEL_EXPORTER_OTLP_ENDPOINT=http://127\.0\.0\.1:\d+\n", said.read_text())
