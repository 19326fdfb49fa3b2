"""``esper-otel dashboards``: build the Grafana dashboards from code, or check the existing files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import typer

dashboards = typer.Typer(help="The Grafana dashboards of this repository.", no_args_is_help=True)


def _code() -> tuple[Any, Path]:
    """The package with the dashboards and the repository that contains it.

    Raises:
        typer.Exit: the package, or the SDK that it needs, is not installed.
    """
    try:
        files = import_module("grafana.files")
    except ModuleNotFoundError as error:
        missing = f"{error.name} is missing"
        typer.echo(f"dashboards are built from the repository; run this in a checkout ({missing})", err=True)
        raise typer.Exit(2) from None
    return files, Path(str(files.__file__)).parents[1]


@dashboards.command()
def build() -> None:
    """Write grafana/dashboards, grafana/provisioning and docs/evidence/dashboards-parity.md from their code."""
    files, root = _code()
    for path in files.write(root):
        print(path.relative_to(root))


@dashboards.command()
def check() -> None:
    """Fail when a dashboard is stale, edited by hand, or breaks a rule of Grafana's linter."""
    files, root = _code()
    faults = files.faults(root)
    for fault in faults:
        typer.echo(fault, err=True)
    if faults:
        raise typer.Exit(1)
    print(f"{len(list((root / 'grafana' / 'dashboards').glob('*.json')))} dashboards are sound and current")
