"""What lies beside the log of a run: its manifest and the link to the newest run."""

from __future__ import annotations

import os
import platform
import socket
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from esper_otel.log import manifest
from esper_otel.log.layout import LATEST, RUN_FILE
from esper_otel.redaction import redacted_arguments
from esper_otel.settings import Settings, process_start

_PACKAGES: Final = ("esper-otel", "msgspec", "numpy", "torch", "esper-lite")


class RunFiles:
    """Keeps ``run.json`` and ``latest`` of a run; rank 0 alone writes them.

    None of it is needed for recording, so that a directory that cannot be written costs only these files: the log's
    own thread meets the same error and says it.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is written yet."""
        self._settings = settings
        self._fields: dict[str, Any] = {}

    def begin(self) -> None:
        """Write the manifest of a run that starts, and point ``latest`` at it."""
        self._fields = _first_fields(self._settings)
        self._write()

    def restore(self) -> None:
        """Write them again when they were removed together with the directory."""
        if self._fields and not (self._settings.run_dir / RUN_FILE).exists():
            self._write()

    def end(self, outcome: str) -> None:
        """Say in the manifest how the run ended."""
        if self._settings.rank == 0:
            self._fields |= {"status": outcome, "ended_at": _now()}
            self._write()

    def _write(self) -> None:
        if self._settings.rank != 0:
            return
        try:
            manifest.update(self._settings.run_dir, **self._fields)
            _point(self._settings.telemetry_dir / LATEST, self._settings.run_id)
        except (OSError, ValueError):
            return  # said by the log's own thread where it matters; a manifest that is not JSON is not ours to replace


def _first_fields(settings: Settings) -> dict[str, Any]:
    return {
        "run_id": settings.run_id,
        "status": "running",
        "started_at": _now(),
        "ended_at": None,
        "pid": os.getpid(),
        "pid_start": process_start(os.getpid()),
        "host": socket.gethostname(),
        "argv": redacted_arguments(sys.argv),
        "python": platform.python_version(),
        "versions": _versions(),
        "world_size": settings.world_size,
        "group_id": settings.group_id,
        "stability": settings.stability.value,
    }


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _point(link: Path, target: str) -> None:
    """Make ``link`` a symbolic link to ``target`` in one step; something else of that name is left alone."""
    if link.exists() and not link.is_symlink():
        return
    draft = link.with_name(f".{link.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
