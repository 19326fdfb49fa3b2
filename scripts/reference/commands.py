"""Reference of the command line: the help of every command, as it prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import typer
from typer.testing import CliRunner

from esper_otel.cli import app

PROGRAM: Final = "esper-otel"
COLUMNS: Final = "100"
INTRODUCTION: Final = """\
# Command line

Generated from `esper-otel COMMAND --help` by `make generate`; do not edit.

`RUN` is a run directory, a log file (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`) or a telemetry directory, ours or
esper-lite's. In a checkout the command is `.venv/bin/esper-otel`."""


def markdown() -> str:
    """The page ``docs/reference/cli.md``."""
    lines = [INTRODUCTION]
    for words in command_names():
        lines += ["", f"## {' '.join([PROGRAM, *words])}", "", "```text", help_text(words), "```"]
    return "\n".join(lines) + "\n"


def command_names() -> list[tuple[str, ...]]:
    """Every command as its words, a group before its own commands; ``()`` is the program."""
    return list(_names(typer.main.get_command(app), ()))


def help_text(words: tuple[str, ...]) -> str:
    """Text that ``--help`` of a command prints, without frames and colours."""
    plain, framed = None, app.rich_markup_mode
    app.rich_markup_mode = plain
    try:
        runner = CliRunner(env={"COLUMNS": COLUMNS, "TERMINAL_WIDTH": COLUMNS, "NO_COLOR": "1"})
        printed = runner.invoke(app, [*words, "--help"], prog_name=PROGRAM, max_content_width=int(COLUMNS))
    finally:
        app.rich_markup_mode = framed
    if printed.exit_code:
        raise RuntimeError(f"{PROGRAM} {' '.join(words)} --help failed: {printed.output}")
    return "\n".join(line.rstrip() for line in printed.output.strip().splitlines())


def _names(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _names(inner, (*words, name))
