"""Start of a training program with the hooks in all its Python processes. Needs no package."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

from esper_otel.automatic.announce import ANNOUNCE
from esper_otel.automatic.door import SWITCH
from esper_otel.text.terminal import printable

SITE: Final = Path(__file__).parent / "site"
"""Directory whose ``sitecustomize`` Python runs at its start."""


def start(program: list[str]) -> NoReturn:
    """Become the program, which is recorded.

    Raises:
        SystemExit: it cannot be started; the message says why.
    """
    command = command_of(program)
    try:
        os.execvpe(command[0], command, environment_of(os.environ))
    except OSError as error:
        print(f"esper-otel run: {printable(command[0])} cannot be started: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None


def command_of(program: list[str]) -> list[str]:
    """The command line that starts ``program``: by this Python unless it is a command of its own."""
    first = program[0]
    is_command = not first.startswith("-") and not first.endswith(".py") and shutil.which(first) is not None
    return program if is_command else [sys.executable, *program]


def environment_of(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """The environment of the program: Python finds our ``sitecustomize`` first."""
    path = [str(SITE), *filter(None, [environment.get("PYTHONPATH")])]
    return {ANNOUNCE: "1", SWITCH: "1", **environment, "PYTHONPATH": os.pathsep.join(path)}
