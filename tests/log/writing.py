"""A writer for tests, and what it left on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esper_otel.events import Decision
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader
from esper_otel.log.writer import Writer
from tests.waiting import wait_for

EVENT = Decision(env_id=0, total_reward=0.5, slot_id="r0c0")
SMALL = 4096


def put(writer: Writer, *events: Any) -> None:
    for event in events:
        writer.put((event, time.time_ns(), "default", None, None))


def read(run: Path) -> list[Record | BadLine]:
    with LogReader(run) as reader:
        return reader.read(1_000_000)


def types(run: Path) -> list[str]:
    return [item.event_type if isinstance(item, Record) else item.reason.value for item in read(run)]


def numbers(run: Path) -> list[int | None]:
    return [item.seq if isinstance(item, Record) else None for item in read(run)]


def closed_segments(run: Path) -> list[Path]:
    return sorted(run.glob("events.0*.jsonl"))


def losses(run: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(r.data) for r in read(run) if isinstance(r, Record) and r.event_type == "TELEMETRY_LOSS"]


def until(holds: Callable[[], bool]) -> None:
    wait_for(holds, "what the writer does beside its caller", every_s=0.001)


def quiet(run: Path, **options: Any) -> Writer:
    return Writer(run, "r", heartbeat_s=0, **options)
