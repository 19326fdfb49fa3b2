"""An hour of a run with many environments as if a Prometheus had scraped it.

The trainer trains one round with that many environments. Its events, again and again and stretched over the hour, act
on the relay's own metric state, which is scraped as ``esper-otel backfill`` does it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.backfill.backfill import Backfilled, backfill

HOUR_S: Final = 3600.0
STEP_MS: Final = 15_000
ROUND_S: Final = 150.0
"""Length of one round of the hour: 24 rounds."""

ONCE: Final = ("TRAINING_STARTED",)
NEVER: Final = ("RUN_ENDED",)
"""The run is still active when it is queried."""


class History(msgspec.Struct, frozen=True):
    """The run as OpenMetrics text, a summary of its samples, and its number of environments."""

    text: Path
    run_id: str
    envs: int
    scraped: Backfilled


def make_history(directory: Path, envs: int) -> History:
    """Train, stretch, scrape."""
    trained = _trained(directory / "trained", envs)
    run = directory / "hour"
    run.mkdir()
    with (run / "events.jsonl").open("wb") as log:
        log.writelines(hour(trained, time.time() - HOUR_S))
    text = directory / "hour.om"
    with text.open("wb") as out:
        scraped = backfill(run, out, step_ms=STEP_MS, run_id=run.name, spool_directory=directory)
    return History(text, run.name, envs, scraped)


def _trained(directory: Path, envs: int) -> list[dict[str, Any]]:
    """The events of one round of the demo with ``envs`` environments, in order."""
    command = [sys.executable, "-m", "trainer", "--recipe", "demo", "--rounds", "1", "--envs", str(envs)]
    subprocess.run(
        [*command, "--no-progress", "--telemetry-dir", str(directory)],
        env=trainer_environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return events_of(directory / "latest")


def trainer_environment() -> dict[str, str]:
    """Variables of a trainer that starts no relay."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ESPER_OTEL_"))}
    return {**environment, "ESPER_OTEL_RELAY": "0"}


def events_of(run: Path) -> list[dict[str, Any]]:
    """The events of a run, log by log."""
    paths = sorted(run.glob("events*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def hour(events: list[dict[str, Any]], began_s: float) -> Iterator[bytes]:
    """The lines of an hour that begins at ``began_s``, Unix s: the events again and again, stretched over rounds."""
    once = [event for event in events if event["event_type"] in ONCE]
    again = [event for event in events if event["event_type"] not in (*ONCE, *NEVER)]
    for event in once:
        yield _line(event, "start", began_s)
    for number in range(int(HOUR_S / ROUND_S)):
        for place, event in enumerate(again):
            yield _line(event, f"{number}", began_s + (number + place / len(again)) * ROUND_S)


def _line(event: dict[str, Any], mark: str, at_s: float) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) + f".{int(at_s % 1 * 1e6):06d}+00:00"
    kept = {name: value for name, value in event.items() if name not in {"seq", "run_id"}}
    return json.dumps({**kept, "event_id": f"{mark}-{event['event_id']}", "timestamp": stamp}).encode() + b"\n"
