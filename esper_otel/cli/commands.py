"""The Typer application, of all commands or of those that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import typer

from esper_otel.cli.table import ABOUT, COMMANDS


def app_of(names: Iterable[str]) -> typer.Typer:
    """An application with these commands; no other command's packages are imported.

    Raises:
        ModuleNotFoundError: a package that one of them needs is not installed.
    """
    app = typer.Typer(help=ABOUT, no_args_is_help=True, pretty_exceptions_show_locals=False)  # they may hold secrets
    app.callback()(_no_options)  # with it, a single command keeps its name
    for name in names:
        found = load(name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name, context_settings=getattr(found, "context_settings", None))(found)
    return app


def load(name: str) -> Any:
    """The function of a command, or its group of further commands."""
    module, _, attribute = COMMANDS[name].function.partition(":")
    return getattr(import_module(module), attribute)


def installed() -> list[str]:
    """Names of the commands whose packages are installed."""
    found = []
    for name in COMMANDS:
        try:
            load(name)
        except ModuleNotFoundError:
            continue
        found.append(name)
    return found


def _no_options() -> None:
    """Add nothing: the program answers its own options before this application is built."""
