"""The console script: answers help and version at once, and imports only the packages of the command it runs."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import textwrap
from contextlib import suppress
from itertools import pairwise
from typing import Final

from esper_otel import __version__
from esper_otel.cli.table import ABOUT, COMMANDS
from esper_otel.log import posix
from esper_otel.text.extras import install, missing
from esper_otel.text.terminal import printable

PROGRAM: Final = "esper-otel"
_OPTIONS: Final = {
    "--version": "Print the version and exit.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Print completion for the current shell, to copy it or customize the installation.",
    "--help": "Show this message and exit. 'esper-otel COMMAND --help' describes a command.",
}
_COMPLETION_VARIABLE: Final = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"
"""Set by a shell that asks for completions, under the name that Typer derives."""


_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Run the command that ``sys.argv`` names; output that nobody can take ends it without a traceback."""
    _make_output_safe()
    try:
        try:
            _main(sys.argv[1:])
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # the reader, as head, has enough
        _drop_output()
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        if not isinstance(error.__context__, SystemExit) or error.__context__.code != 2:  # else the command said why
            text = f"standard output cannot be written: {error.strerror}; what it has is incomplete"
            print(f"{PROGRAM}: {text}", file=sys.stderr)
        raise SystemExit(2) from None


def _main(arguments: list[str]) -> None:
    if _COMPLETION_VARIABLE not in os.environ:
        if arguments in ([], ["--help"]):
            print(help_text(shutil.get_terminal_size().columns))
            raise SystemExit(0 if arguments else 2)
        if arguments == ["--version"]:
            print(f"{PROGRAM} {__version__}")
            raise SystemExit(0)
    if _has_empty(arguments):
        text = "an argument is empty, as of a variable that is not set; write . for this directory"
        print(f"{PROGRAM} {printable(arguments[0])}: {text}", file=sys.stderr)
        raise SystemExit(2)
    if not posix.is_supported():
        print(f"{PROGRAM}: {posix.NO_READING}", file=sys.stderr)
        raise SystemExit(2)
    if arguments[:1] == ["run"] and (program := _program(arguments[1:])):
        from esper_otel.automatic.start import start

        start(program)
    _run(arguments[0] if arguments else "")


def _has_empty(arguments: list[str]) -> bool:
    """True where a path is empty, which would mean this directory; what a program to run gets is its own."""
    return arguments[:1] != ["run"] and any(
        not argument and not before.startswith("-") for before, argument in pairwise(arguments)
    )


def _drop_output() -> None:
    """Have the interpreter's exit write what is left to nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _program(arguments: list[str]) -> list[str]:
    """The program that 'run' starts, without Typer, which who records need not have; none where Typer has to answer."""
    if arguments[:1] == ["--help"]:
        return []
    return arguments[1:] if arguments[:1] == ["--"] else arguments


def _make_output_safe() -> None:
    """Print characters that the output's encoding lacks by their code points, and tables where COLUMNS is 0."""
    if not os.environ.get("COLUMNS", "").strip(" 0"):
        os.environ.pop("COLUMNS", None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def help_text(columns: int) -> str:
    """Text of ``esper-otel --help`` on a terminal of that width."""
    width = max(40, min(columns, 100))
    commands = {name: command.summary for name, command in COMMANDS.items()}
    parts = [
        f"Usage: {PROGRAM} [OPTIONS] COMMAND [ARGS]...",
        f"  {ABOUT}",
        "Options:\n" + _columns(_OPTIONS, width),
        "Commands:\n" + _columns(commands, width),
        f"'run' needs no further package. For metrics and the report:\n  {install('relay,report')}",
    ]
    return "\n\n".join(parts)


def _columns(rows: dict[str, str], width: int) -> str:
    first = max(len(name) for name in rows) + 4
    return "\n".join(
        textwrap.fill(text, width, initial_indent=f"  {name}".ljust(first), subsequent_indent=" " * first)
        for name, text in rows.items()
    )


def _run(name: str) -> None:
    """Run the command ``name``, or let Typer answer completions and report that there is none of that name."""
    command = COMMANDS.get(name)
    try:
        from esper_otel.cli.commands import app_of, installed

        app = app_of([name] if command else installed())
        app(prog_name=PROGRAM)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "esper_otel":
            raise
        text = missing(package, command.extra if command else "cli")
        print(f"{PROGRAM}{f' {name}' if command else ''}: {printable(text)}", file=sys.stderr)
        raise SystemExit(2) from None
