"""The command line of the backfill."""

from __future__ import annotations

import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from esper_otel.backfill.backfill import Backfilled, EmptyRunError
from esper_otel.backfill.backfill import backfill as write_backfill
from esper_otel.log.envelope import told_losses
from esper_otel.log.opening import is_stream, raise_file_limit, written_whole
from esper_otel.text.terminal import printable

DEFAULT_STEP: Final = "15s"
"""The scrape interval that alert windows and dashboards assume."""

MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def backfill(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or telemetry directory.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    step: Annotated[str, typer.Option(help="Time between two scrapes: 500ms, 15s, 1m.")] = DEFAULT_STEP,
    run_id: Annotated[str | None, typer.Option(help="Name of the run if the log does not contain one.")] = None,
) -> None:
    """Write a finished run as OpenMetrics text with its original times, for 'promtool tsdb create-blocks-from'.

    Exit status 2: the run has no events, or the file cannot be written.
    """
    raise_file_limit()  # a run has a log for each rank
    try:
        step_ms = milliseconds(step)
        done = _write(run, out, step_ms, run_id)
    except (EmptyRunError, ValueError, OSError) as error:
        _fail(str(error))
    _report(done, out)


def milliseconds(text: str) -> int:
    """Convert a Prometheus duration (``500ms``, ``15s``, ``1m``, ``1h``; a bare number is s) to ms.

    Raises:
        ValueError: it is not a duration, or shorter than 1 ms.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text.strip())
    amount = round(float(match[1]) * MS[match[2] or "s"]) if match else 0
    if amount < 1:
        raise ValueError(f"--step {text}: expected a time above 0 such as 500ms, 15s or 1m")
    return amount


def _write(run: Path, out: Path, step_ms: int, run_id: str | None) -> Backfilled:
    """Write all of it or nothing, so that nobody imports half a run."""
    spool = Path(tempfile.gettempdir()) if is_stream(out) else out.parent
    with written_whole(out) as file:
        return write_backfill(run, file, step_ms=step_ms, run_id=run_id, spool_directory=spool, tell=_tell)


def _report(done: Backfilled, out: Path) -> None:
    if done.lost:
        _tell(told_losses(done.lost))
    first, last = (datetime.fromtimestamp(ms / 1e3, UTC).isoformat(sep=" ") for ms in (done.first_ms, done.last_ms))
    if is_stream(out):
        return
    print(
        f"{out}: {done.samples} samples of {done.series} series in {done.scrapes} scrapes from {first} to {last}\n"
        f"import: promtool tsdb create-blocks-from openmetrics {out} PROMETHEUS_DATA_DIRECTORY"
    )


def _tell(text: str) -> None:
    print(f"esper-otel backfill: {printable(text)}", file=sys.stderr)


def _fail(text: str) -> NoReturn:
    _tell(text)
    raise typer.Exit(2)
