"""Lines and runs as somebody with bad intentions would make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DEEP = "[" * 100_000 + "]" * 100_000
"""JSON that nests deeper than any stack."""


def line(event_type: str = "TAMIYO_POLICY_UPDATE", number: int = 1, **envelope: Any) -> bytes:
    """A line as esper-lite writes it."""
    head = {"event_id": f"id-{number}", "event_type": event_type, "timestamp": "2026-01-02T03:04:05+00:00"}
    return json.dumps({**head, "data": {}, "group_id": "default", "severity": "info", **envelope}).encode() + b"\n"


def ended_run(directory: Path, *lines: bytes) -> Path:
    """A run that is over, with ``lines`` before its end."""
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps({"run_id": directory.name, "status": "finished"}))
    end = line("RUN_ENDED", 10**6, data={"outcome": "finished"}, run_id=directory.name, rank=0, schema_version=1)
    (directory / "events.jsonl").write_bytes(b"".join(lines) + end)
    return directory
