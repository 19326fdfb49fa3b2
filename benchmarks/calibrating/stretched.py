"""Runs as a Prometheus would have them if each update of their policy took half a minute.

The runs of the calibration take a minute or two. Alerts look at half an hour, so that all times of a run are stretched
to the pace of a larger one, and the run is written to Prometheus as ``esper-otel backfill`` does it.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.backfill.backfill import backfill
from esper_otel.log.layout import resolve

UPDATE_S: Final = 30.0
STEP_S: Final = 15
UPDATES: Final = ("TAMIYO_POLICY_UPDATE", "PPO_UPDATE_COMPLETED")


class Stretched(msgspec.Struct, frozen=True):
    """A stretched run: its name in Prometheus, its first and last time in Unix s, and the end of each round."""

    name: str
    begin_s: float
    end_s: float
    round_ends: dict[int, float]


def stretch(run: Path, directory: Path, begin_s: float) -> Stretched:
    """Write the events of ``run`` to a log of one file in ``directory``; they begin at ``begin_s``, Unix s."""
    events = sorted(_events(run), key=lambda event: str(event["timestamp"]))
    times = [datetime.fromisoformat(event["timestamp"]) for event in events]
    updates = sum(event["event_type"] in UPDATES for event in events)
    factor = max(1.0, updates * UPDATE_S / max((times[-1] - times[0]).total_seconds(), 1.0))
    begin = datetime.fromtimestamp(begin_s, UTC)
    round_ends = {}
    directory.mkdir(parents=True)
    with (directory / "events.jsonl").open("w", encoding="utf-8") as log:
        for event, time in zip(events, times, strict=True):
            at = begin + timedelta(seconds=(time - times[0]).total_seconds() * factor)
            event["timestamp"] = at.isoformat(timespec="microseconds")
            if event["event_type"] == "TOLARIA_BATCH_COMPLETED":
                round_ends[event["data"]["batch_idx"]] = at.timestamp()
            log.write(json.dumps(event) + "\n")
    end_s = begin_s + (times[-1] - times[0]).total_seconds() * factor
    return Stretched(directory.name, begin_s, end_s, round_ends)


def _events(run: Path) -> Iterator[dict[str, Any]]:
    for source in resolve(run):
        for located in filter(None, map(source.locate, source.numbers())):
            opened = gzip.open if located.path.suffix == ".gz" else open
            with opened(located.path, "rb") as log:
                for line in log:
                    event: dict[str, Any] = json.loads(line)
                    yield {name: value for name, value in event.items() if name not in {"run_id", "seq"}}


def store(run: Stretched, directory: Path, data: Path, promtool: str) -> None:
    """Add a run, stretched to ``directory``, to the blocks in ``data``."""
    text = directory.with_suffix(".om")
    with text.open("wb") as out:
        backfill(directory, out, step_ms=1000 * STEP_S, run_id=run.name, spool_directory=directory)
    command = [promtool, "tsdb", "create-blocks-from", "--quiet", "openmetrics", str(text), str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    text.unlink()
