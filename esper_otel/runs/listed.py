"""Values of a run by the name of a column or setting, from what the index holds of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from esper_otel.runs.entry import Listed
from esper_otel.runs.summary import OUTCOMES

OUTCOME_COLUMNS: Final = tuple(f"{which}{name}" for name in OUTCOMES for which in ("", "best_"))
NUMBERS: Final = ("rounds", "updates", "sessions", "ranks", *OUTCOME_COLUMNS)
"""Numbers of a run's summary; ``best_reward`` is the best one, ``reward`` the last."""

TEXTS: Final = ("run", "state", "started_at", "last_seen_at", "host", "commit", "command", "notes")
COLUMNS: Final = (*TEXTS, *NUMBERS[:4], "duration_s", *OUTCOME_COLUMNS, "tags")
"""Columns that every run may have; any other name is that of a setting."""


def number_in(listed: Listed, column: str) -> float | None:
    """The value of a column of :data:`NUMBERS`; None where the run has none."""
    name = column.removeprefix("best_")
    if name in OUTCOMES:
        outcome = getattr(listed.summary, name)
        found: float | None = outcome.last if name == column else outcome.best
        return found
    number: int | None = getattr(listed.summary, column)
    return number


def told_in(listed: Listed) -> dict[str, Any]:
    """Content of ``run.json``: tags, notes, host, commit, command."""
    content = msgspec.msgpack.decode(listed.told.rest)
    return {**content, "command": " ".join(content.get("argv") or []) or None}


def settings_in(listed: Listed, told: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters: options of the command, and what the start of the training says."""
    return {**options_in(told.get("argv") or []), **msgspec.msgpack.decode(listed.summary.settings)}


def options_in(argv: list[str]) -> dict[str, str]:
    """Options of a command line, ``--lr 0.1`` or ``--lr=0.1``, by their names."""
    found = {}
    for number, word in enumerate(argv):
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name.isascii() or not name:
            continue
        following = argv[number + 1] if number + 1 < len(argv) else ""
        found[name.replace("-", "_")] = value if equals else following if not following.startswith("--") else "true"
    return {name: value or "true" for name, value in found.items()}
