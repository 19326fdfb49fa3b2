"""Small logs for tests: lines as esper-lite writes them, and recordings made longer."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.recorded import recording


def line(event_type: str, data: Any, number: int, **envelope: Any) -> bytes:
    """A line of esper-lite: no run_id, no seq."""
    head = {"event_id": f"id-{number}", "event_type": event_type, "timestamp": f"2026-01-02T03:04:{number:02d}+00:00"}
    rest = {"seed_id": None, "slot_id": None, "epoch": None, "group_id": "default", "message": "", "data": data}
    return json.dumps({**head, **rest, "severity": "info", **envelope}).encode() + b"\n"


def batch(number: int, group: str, first_id: int) -> list[bytes]:
    """A batch of one A/B arm: two episodes, then its figures."""
    done = 2 * number
    figures = {"kind": "action_distribution", "action_counts": {"WAIT": 3, "PRUNE": 1}}
    data = {"batch_idx": number, "episodes_completed": done, "avg_accuracy": 10.0 * number}
    return [
        line("BATCH_EPOCH_COMPLETED", data, first_id, group_id=group),
        line("ANALYTICS_SNAPSHOT", figures, first_id + 1, group_id=group, epoch=done),
    ]


def unpacked(name: str = "esper-lite-2env") -> bytes:
    """The lines of a recording."""
    return gzip.decompress(recording(name).read_bytes())


def again_and_again(times: int, name: str = "esper-lite-2env") -> bytes:
    """A recording several times, each with event ids of its own."""
    lines = unpacked(name)
    first = lines.index(b'"event_id": "') + len(b'"event_id": "')
    assert lines[first : first + 1].isalnum()
    return b"".join(lines.replace(b'"event_id": "', b'"event_id": "%d-' % number) for number in range(times))
