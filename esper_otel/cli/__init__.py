"""The command line: ``esper-otel``."""

from typing import Any

from esper_otel.cli.program import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    """``app``: the Typer application of all commands, built on first access because commands import packages."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from esper_otel.cli.commands import app_of
    from esper_otel.cli.table import COMMANDS

    return app_of(COMMANDS)
