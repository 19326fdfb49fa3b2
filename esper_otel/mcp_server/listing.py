"""Entries of ``list_runs``, from a run's first lines and ``run.json``: no log is read to its end for a list."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.events import TrainingStarted
from esper_otel.log import manifest
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.log.reading.standing import standing
from esper_otel.log.salvage import valid_text
from esper_otel.mcp_server.directories import files_of, modified_s
from esper_otel.sql.output import plain

FIRST_LINES: Final = 100
"""Lines searched for the start of the training: it is the first event of both producers."""

_SHOWN: Final = (
    *("task", "reward_mode", "seed", "n_envs", "n_episodes", "max_epochs", "max_batches", "lr", "policy_device"),
)


def described(name: str, path: Path) -> dict[str, Any]:
    """One run as plain data: name, place, size, state and how its training started, or why that cannot be read."""
    shown = {"run": name, "path": valid_text(str(path))}
    try:
        return {**shown, **_facts(path)}
    except (OSError, ValueError) as error:
        return {**shown, "problem": valid_text(str(error))}


def _facts(path: Path) -> dict[str, Any]:
    problems: list[str] = []
    said = manifest.read_or_tell(path, problems.append) if path.is_dir() else {}
    return {
        **({"problem": valid_text(problems[0])} if problems else {}),
        "last_written": plain(datetime.fromtimestamp(modified_s(path), UTC).replace(tzinfo=None)),
        "size_bytes": sum(file.lstat().st_size for file in files_of(path)),
        **({"status": state} if (state := standing(path if path.is_dir() else None, said)) else {}),
        **_start(path),
    }


def _start(path: Path) -> dict[str, Any]:
    try:
        with LogReader(path) as reader:
            for record in reader.read(FIRST_LINES):
                started = _started(record) if isinstance(record, Record) else None
                if started is not None:
                    return started
    except FileNotFoundError:  # only its Parquet files are left
        return {}
    return {}


def _started(record: Record) -> dict[str, Any] | None:
    for event in adapt(record).events:
        if isinstance(event, TrainingStarted):
            fields = msgspec.to_builtins(event)
            when = datetime.fromtimestamp(record.timestamp_ns / 1e9, UTC).replace(tzinfo=None)
            known = {name: plain(fields[name]) for name in _SHOWN if fields.get(name) is not None}
            return {"started_at": plain(when), "group_id": record.group_id, **known}
    return None
