"""``esper-otel run``: start a training program with the hooks in all its Python processes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from esper_otel.automatic.announce import ANNOUNCE
from esper_otel.automatic.door import SWITCH
from esper_otel.text.terminal import printable

SITE: Final = Path(__file__).parent / "site"
"""Directory whose ``sitecustomize`` Python runs at its start."""

PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
"""Settings of the command line: what follows the program is the program's."""


def run(
    program: Annotated[
        list[str],
        typer.Argument(
            metavar="PROGRAM [ARGS]...",
            help="A script, '-m MODULE' as for python, or a launcher such as torchrun, with its arguments.",
        ),
    ],
) -> None:
    """Run a training program and record it, without a line in it: 'esper-otel run train.py --lr 0.1'.

    All its Python processes are included: ranks of torchrun and of Lightning as well. A run begins with the first
    update of a process. It lies in ./telemetry or $ESPER_OTEL_TELEMETRY_DIR; one line on standard error says where, and
    at which address its metrics are. Exit status: the program's.
    """
    command = command_of(program)
    try:
        os.execvpe(command[0], command, environment_of(os.environ))
    except OSError as error:
        typer.echo(f"esper-otel run: {printable(command[0])} cannot be started: {error.strerror}", err=True)
        raise typer.Exit(2) from None


run.context_settings = PASSED_ON  # type: ignore[attr-defined]  # read where commands are registered


def command_of(program: list[str]) -> list[str]:
    """The command line that starts ``program``: by this Python unless it is a command of its own."""
    first = program[0]
    is_command = not first.startswith("-") and not first.endswith(".py") and shutil.which(first) is not None
    return program if is_command else [sys.executable, *program]


def environment_of(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """The environment of the program: Python finds our ``sitecustomize`` first."""
    path = [str(SITE), *filter(None, [environment.get("PYTHONPATH")])]
    return {ANNOUNCE: "1", SWITCH: "1", **environment, "PYTHONPATH": os.pathsep.join(path)}
