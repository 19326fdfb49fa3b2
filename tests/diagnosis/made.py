"""Small runs for tests of the diagnosis: a log of events, each with its time, as the writer would leave it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Line = dict[str, Any]


def line(event_type: str, second: float, rank: int = 0, **data: Any) -> Line:
    return {
        "event_id": f"{event_type}-{second}-{rank}",
        "event_type": event_type,
        "timestamp": (START + timedelta(seconds=second)).isoformat(),
        "run_id": "made",
        "rank": rank,
        "data": data,
    }


def run(directory: Path, *lines: Iterable[Line]) -> Path:
    directory.mkdir(exist_ok=True)
    by_rank: dict[int, list[Line]] = {}
    for each in (one for part in lines for one in part):
        by_rank.setdefault(each["rank"], []).append(each)
    for rank, found in by_rank.items():
        name = "events.jsonl" if rank == 0 else f"events.rank{rank}.jsonl"
        numbered = [{**each, "seq": number} for number, each in enumerate(found, start=1)]
        (directory / name).write_text("".join(json.dumps(each) + "\n" for each in numbered))
    return directory


def training(count: int = 60, rank: int = 0, **changed: Any) -> list[Line]:
    """Healthy updates of a loop, one a second; a function among ``changed`` gives its field by the update's number."""
    healthy = {"model": "Net", "optimizer": "Adam", "loss": 1.0, "pre_clip_grad_norm": 1.0, "grad_norm_excess": 0.9}
    return [line("TOLARIA_TRAINING_UPDATE", n, rank, update=n + 1, **(healthy | _at(n, changed))) for n in range(count)]


def policy(count: int = 60, **changed: Any) -> list[Line]:
    """Healthy updates of a policy, one a second."""
    healthy = {"pre_clip_grad_norm": 1.0, "kl_divergence": 0.01, "explained_variance": 0.9, "ratio_max": 1.1}
    healthy |= {"clip_fraction": 0.1, "entropy": 1.0}
    return [line("TAMIYO_POLICY_UPDATE", n, **(healthy | {"batch": n + 1} | _at(n, changed))) for n in range(count)]


def phases(rank: int, reports: int = 3, **seconds: float) -> list[Line]:
    """Reports of the phases, twenty steps in each."""
    durations = {name: [value] * 20 for name, value in seconds.items()}
    return [
        line("TOLARIA_PHASE_DURATIONS", 2 * n, rank, device="cpu", step=20 * n, durations_s=durations)
        for n in range(1, reports + 1)
    ]


def _at(number: int, changed: dict[str, Any]) -> dict[str, Any]:
    return {name: value(number) if callable(value) else value for name, value in changed.items()}
