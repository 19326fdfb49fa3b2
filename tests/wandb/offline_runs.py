"""What wandb wrote in offline mode, read back from its files: a log in LevelDB's format that holds protobuf records."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

HEADER_BYTES: Final = 7
BLOCK_BYTES: Final = 32_768
WHOLE, LAST = 1, 4


class OfflineRun(msgspec.Struct):
    """One W&B run as ``wandb sync`` would send it.

    Attributes:
        rows: the history, without wandb's own columns but with ``_step``.
        axes: horizontal axis by pattern of columns.
        raw: the file.
    """

    run_id: str = ""
    name: str = ""
    group: str = ""
    project: str = ""
    config: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    axes: dict[str, str] = {}
    exit_code: int | None = None
    raw: bytes = b""


def offline_runs(directory: Path) -> list[OfflineRun]:
    """Every run below ``directory``, in the order in which they were begun."""
    paths = directory.glob("**/offline-run-*/*.wandb")
    return [_read(path.read_bytes()) for path in sorted(paths, key=lambda path: path.stat().st_ctime_ns)]


def _read(raw: bytes) -> OfflineRun:
    run = OfflineRun(raw=raw)
    for record in _records(raw):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.run_id, run.name = record.run.run_id, record.run.display_name
            run.group, run.project = record.run.run_group, record.run.project
            run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            run.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            run.rows.append(_row(record.history))
        elif kind == "metric":
            run.axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _row(history: Any) -> dict[str, Any]:
    cells = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history.item}
    kept = {name: value for name, value in cells.items() if not name.startswith("_")}
    return {"_step": cells.get("_step", history.step.num), **kept}


def _records(raw: bytes) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    for data in _entries(raw):
        yield wandb_internal_pb2.Record.FromString(data)


def _entries(raw: bytes) -> Iterator[bytes]:
    """The entries of the log; those that cross a block are put together."""
    at, parts = HEADER_BYTES, []
    while at + HEADER_BYTES <= len(raw):
        if BLOCK_BYTES - at % BLOCK_BYTES < HEADER_BYTES:
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        _, length, kind = struct.unpack_from("<IHB", raw, at)
        if kind == 0:
            return
        parts.append(raw[at + HEADER_BYTES : at + HEADER_BYTES + length])
        at += HEADER_BYTES + length
        if kind in (WHOLE, LAST):
            yield b"".join(parts)
            parts = []
