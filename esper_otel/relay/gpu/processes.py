"""The processes of a run on this node, to separate its use of a GPU from others'."""

from __future__ import annotations

from pathlib import Path

from esper_otel.log.locks.lock import holder


def run_pids(directory: Path | None) -> set[int]:
    """Process ids of the run's living writers and of their children; empty for a log that is not a run's directory."""
    if directory is None:
        return set()
    writers = {pid for path in directory.glob(".writer.rank*.lock") if (pid := holder(path)) is not None}
    return writers | {child for pid in writers for child in _children(pid)}


def _children(pid: int) -> set[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return set()
    return {int(child) for child in text.split()}
