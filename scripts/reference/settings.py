"""Reference of the settings: environment variables, and the arguments of ``configure()``."""

from __future__ import annotations

import inspect
import re
from itertools import groupby
from typing import Final

import esper_otel
from esper_otel.runtime.variables import VARIABLES
from scripts.reference.tables import table

INTRODUCTION: Final = """\
# Settings

Generated from `esper_otel/runtime/variables.py` and `esper_otel.configure` by `make generate`; do not edit.

An argument of `configure()` goes before the variable, the variable before the default. A value that is not understood
is an error that names it. `{SIGNAL}` is `TRACES`, `METRICS` or `LOGS`. Options of commands: [command line](cli.md)."""


def markdown() -> str:
    """The page ``docs/reference/settings.md``."""
    lines = [INTRODUCTION, "", "## configure()"]
    lines += table(("argument", "type", "default", "meaning"), arguments())
    for reader, variables in groupby(VARIABLES, key=lambda variable: variable.reader):
        rows = [(f"`{variable.name}`", variable.default, variable.meaning) for variable in variables]
        lines += [f"## {reader}", *table(("variable", "default", "meaning"), rows)]
    return "\n".join(lines).rstrip("\n") + "\n"


def arguments() -> list[tuple[str, ...]]:
    """Name, type, default and meaning of each argument of ``configure()``."""
    meanings = _described(inspect.getdoc(esper_otel.configure) or "")
    return [
        (f"`{name}`", f"`{parameter.annotation}`", _default(parameter.default), meanings[name])
        for name, parameter in inspect.signature(esper_otel.configure).parameters.items()
    ]


def _default(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1024:
        return f"{value / 1024**2:g} MiB"
    return f"`{value!r}`"


def _described(docstring: str) -> dict[str, str]:
    """Meaning of each argument in the ``Args:`` section of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.DOTALL | re.MULTILINE)
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1] if section else "", re.DOTALL | re.MULTILINE)
    return {name: _sentence(" ".join(text.split()).replace("``", "`")) for name, text in found}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
