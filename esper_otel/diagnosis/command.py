"""The command ``diagnose``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import duckdb
import typer

from esper_otel.diagnosis.diagnose import diagnose as diagnosis_of
from esper_otel.diagnosis.finding import Diagnosis, Finding, Grade
from esper_otel.sql.connect import MEMORY_LIMIT
from esper_otel.sql.plain import plain
from esper_otel.sql.select import out_of_memory
from esper_otel.text.terminal import printable

STATUS: Final = {Grade.CRITICAL: 4, Grade.WARNING: 3, Grade.INFO: 0, None: 0}
"""Exit status by the worst severity; 2 is an error, as in every command."""

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S: Final = 36_525 * 86_400
"""A hundred years: all of any run, and still a time that a calendar has."""


def diagnose(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or Parquet directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Look at the last part of the run only: 90s, 10m, 2h, 1d before its last event.")
    ] = None,
    memory_limit: Annotated[
        str, typer.Option("--memory-limit", help="Memory limit of DuckDB, for example 512MB.")
    ] = MEMORY_LIMIT,
) -> None:
    """Say what is wrong with a run: a ranked list of findings with evidence, cause and next step. Read-only.

    Exit status 0: healthy, or too little to judge; 3: a warning; 4: something critical; 2: the run cannot be read.
    """
    try:
        span = None if since is None else span_of(since)
        found = diagnosis_of(run, since=span, memory_limit=memory_limit, tell=_tell)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _tell(out_of_memory(str(error)))
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(plain(found.as_json()), indent=2))
    else:
        print("\n".join(map(printable, lines(found))))
    raise typer.Exit(STATUS[found.severity])


def span_of(text: str) -> timedelta:
    """A span of time such as ``90s``, ``10m``, ``2h`` or ``1d``.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise ValueError(f"--since: {text!r} is not a span of time; give a number and s, m, h or d, for example 10m")
    return timedelta(seconds=min(float(found[1]) * _UNITS_S[found[2]], _LONGEST_S))


def lines(found: Diagnosis) -> Iterator[str]:
    """The diagnosis as lines for people."""
    yield f"{found.run}{f' ({found.state})' if found.state else ''}: {found.verdict}"
    for number, finding in enumerate(found.findings, start=1):
        yield ""
        yield f"{number}. {finding.severity.upper()} ({finding.confidence})  {finding.sentence}"
        yield from _details(finding)
    if found.not_judged:
        yield ""
        yield f"Not judged: {'; '.join(found.not_judged)}."


def _details(finding: Finding) -> Iterator[str]:
    parts = {
        "evidence": ", ".join(figure.text for figure in finding.evidence),
        "when": finding.when,
        "who": ", ".join(f"{name} {value}" for name, value in finding.who.items()),
        "cause": finding.cause,
        "means": finding.of.meaning,
        "next": finding.of.act,
        "runbook": f"docs/reference/runbook.md#{finding.of.alert.lower()}" if finding.of.alert else "",
        "query": finding.query,
    }
    for name, value in parts.items():
        if value:
            yield f"   {name:<9}{value}"
    for number, frame in enumerate(finding.stack):
        yield f"   {'' if number else 'stack':<9}{frame}"


def _tell(text: str) -> None:
    print(f"esper-otel diagnose: {printable(text)}", file=sys.stderr)
