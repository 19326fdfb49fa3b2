"""Logs made for the report: A/B arms, bad updates, names that attack the page, very many updates."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=http://x.invalid/a onerror=alert(1)>\u2028{{7*7}}'\"&"
)

Line = dict[str, Any]


def line(event_type: str, second: float, data: Line, **envelope: Any) -> Line:
    """One line of a log, ``second`` s after the start."""
    moment = (START + timedelta(seconds=second)).isoformat()
    return {
        "event_id": f"{event_type}-{second}",
        "event_type": event_type,
        "timestamp": moment,
        "data": data,
    } | envelope


def log(path: Path, lines: Iterable[Line]) -> Path:
    """The log at ``path``; non-finite numbers are bare tokens, as esper-lite writes them."""
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


def updates(count: int, change: Callable[[int], Line] = lambda number: {}) -> list[Line]:
    """Healthy policy updates, one a second; ``change`` gives what is different about the one with a number from 0."""
    healthy = {"pre_clip_grad_norm": 1.0, "kl_divergence": 0.01, "explained_variance": 0.9, "ratio_max": 1.1}
    return [line("TAMIYO_POLICY_UPDATE", n, healthy | {"batch": n + 1} | change(n)) for n in range(count)]


def recorded_lines(path: Path) -> list[Line]:
    """The lines of a recording."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(each) for each in file]


def as_two_arms(lines: list[Line]) -> list[Line]:
    """A recording as an A/B run: both arms did the same."""
    return [{**each, "group_id": arm, "event_id": f"{arm}-{each['event_id']}"} for arm in "AB" for each in lines]


def hostile(lines: list[Line]) -> list[Line]:
    """A recording in which every free text is an attack."""
    free = {
        "blueprint_id",
        "seed_id",
        "slot_id",
        "task",
        "anomaly_type",
        "reward_mode",
        "detail",
        "reason",
        "outcome_type",
        "panic_reason",
    }

    def attacked(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: attacked(inner, key) for key, inner in value.items()}
        return HOSTILE if name in free and isinstance(value, str) else value

    renamed = {"group_id": HOSTILE, "message": HOSTILE, "seed_id": HOSTILE, "slot_id": HOSTILE}
    lines = [{**each, **renamed, "data": attacked(each["data"])} for each in lines]
    return [*lines, line(HOSTILE, 1, {HOSTILE: HOSTILE}), line("TAMIYO_POLICY_UPDATE", 2, {HOSTILE: 1})]
