"""The wheel in an empty environment does what its extra is for, and names the extra of what it cannot do."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

import pytest

from esper_otel import __version__
from esper_otel.cli.commands import load
from esper_otel.cli.table import COMMANDS
from tests.packaging.installed import PINNED, Environment, wheel_in
from tests.packaging.uses import USES, use
from tests.tools import ROOT

CHECKOUT_ONLY = {"trainer", "bench", "dev"}
"""Extras of the checkout: they have no command of the wheel."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_in(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("extra", USES)
def test_an_extra_alone_does_what_it_is_for(wheel: Path, tmp_path: Path, extra: str) -> None:
    use(Environment(tmp_path / "environment", wheel, extra, *PINNED), tmp_path)


def test_every_extra_of_the_wheel_is_tried() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert set(extras) - CHECKOUT_ONLY == {*USES, "all"} - {""}


def test_core_installs_msgspec_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    assert {"esper-otel", "msgspec"} == Environment(tmp_path / "environment", wheel, "", *PINNED).packages()


def test_a_command_whose_extra_is_missing_names_it_in_one_line(wheel: Path, tmp_path: Path) -> None:
    bare = Environment(tmp_path / "bare", wheel, "", *PINNED)
    with_cli = Environment(tmp_path / "cli", wheel, "cli", *PINNED)

    for environment, names in (
        (bare, set(COMMANDS) - {"run"}),
        (with_cli, {n for n, c in COMMANDS.items() if c.extra != "cli"}),
    ):
        for name in names:
            said = environment.run("esper-otel", name, "x", status=2)
            assert 1 == said.count("\n"), said
            assert f'is not installed: pip install "esper-otel[{COMMANDS[name].extra}] @ {wheel.as_uri()}"' in said
    assert f'pip install "esper-otel[relay] @ {wheel.as_uri()}"' in bare.run(
        "python", "-m", "esper_otel.relay", "x", status=2
    )


def test_a_program_is_run_and_recorded_by_the_core_alone(wheel: Path, tmp_path: Path) -> None:
    bare = Environment(tmp_path / "bare", wheel, "", *PINNED)
    program = tmp_path / "train.py"
    program.write_text("import sys, esper_otel\nprint(sys.argv[1:], esper_otel.configure(relay=False).run_dir.name)")
    variables = {"ESPER_OTEL_TELEMETRY_DIR": str(tmp_path), "ESPER_OTEL_RUN_ID": "mine"}

    for words in (("run",), ("run", "--")):
        assert "['--lr', '0.1'] mine\n" == bare.run("esper-otel", *words, program, "--lr", "0.1", **variables)
    assert (tmp_path / "mine" / "events.jsonl").exists()


def test_the_wheel_holds_one_package_its_types_and_the_files_to_watch_runs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}

    assert {"esper_otel", f"esper_otel-{__version__}.dist-info"} == tops
    assert "esper_otel/py.typed" in names
    shipped = {name.removeprefix("esper_otel/shipped/") for name in names if name.startswith("esper_otel/shipped/")}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    assert wanted | {"deploy/compose.yaml", "deploy/prometheus/rules.yml", "deploy/collector/local.yaml"} <= shipped


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_paragraph_of_its_description(name: str) -> None:
    function = load(name)
    description = getattr(function, "__doc__", None) if callable(function) and hasattr(function, "__code__") else None
    text = description or function.info.help

    assert " ".join(text.split("\n\n")[0].split()) == COMMANDS[name].summary
