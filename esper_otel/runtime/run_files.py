"""Files beside the log of a run: its manifest and the link to the newest run."""

from __future__ import annotations

import os
import platform
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from esper_otel import native
from esper_otel.log import manifest
from esper_otel.log.layout import LATEST, RELAY_DIRECTORY, RUN_FILE
from esper_otel.log.locks.processes import process_start
from esper_otel.runtime.job import job_attributes
from esper_otel.runtime.revision import commit_around
from esper_otel.runtime.settings import Settings
from esper_otel.text.redaction import redacted_arguments

_PACKAGES: Final = ("esper-otel", "msgspec", "numpy", "torch", "esper-lite")


class RunFiles:
    """Keeps ``run.json`` and ``latest`` of a run; rank 0 alone writes them.

    None of it is needed for recording, so that a directory that cannot be written costs only these files: the log's
    own thread meets the same error and says it.
    """

    def __init__(self, settings: Settings, heartbeat_s: float) -> None:
        """Write nothing yet. ``heartbeat_s``: time between two heartbeats; 0 for none."""
        self._settings = settings
        self._heartbeat_s = heartbeat_s
        self.run_dir = settings.run_dir
        self._fields: dict[str, Any] = {}

    def begin(self) -> None:
        """Write the manifest of a run that starts, and point ``latest`` at it."""
        self._fields = {**_first_fields(self._settings), "heartbeat_s": self._heartbeat_s}
        self._write(**self._relay_of_earlier_session())

    def restore(self) -> None:
        """Write the files again if they were removed together with the directory."""
        if self._fields and not (self.run_dir / RUN_FILE).exists():
            self._write()

    def move(self, directory: Path) -> None:
        """Move to ``directory``, the new path of the renamed run."""
        self.run_dir = directory
        self._write()

    def end(self, outcome: str) -> None:
        """Record in the manifest how the run ended."""
        if self._settings.rank == 0:
            self._fields |= {"status": outcome, "ended_at": _now()}
            self._write()

    def _relay_of_earlier_session(self) -> dict[str, Any]:
        """A relay that is still there goes on with the run; what it delivered was the earlier session's."""
        try:
            content = manifest.read(self.run_dir)
        except (OSError, ValueError):
            return {}
        return {
            name: {key: value for key, value in entry.items() if key not in {"delivered", "stopped"}}
            for name, entry in content.items()
            if name.startswith(RELAY_DIRECTORY) and isinstance(entry, dict)
        }

    def _write(self, **more: Any) -> None:
        if self._settings.rank != 0:
            return
        try:
            manifest.update(self.run_dir, **self._fields, **more)
            _point(self.run_dir.parent / LATEST, self.run_dir.name)
        except (OSError, ValueError):
            return  # said by the log's own thread where it matters; a manifest that is not JSON is not ours to replace


def _first_fields(settings: Settings) -> dict[str, Any]:
    arguments = [str(argument) for argument in getattr(sys, "argv", ())]
    return {
        "run_id": settings.run_id,
        "status": "running",
        "started_at": _now(),
        "ended_at": None,
        "pid": os.getpid(),
        "pid_start": process_start(os.getpid()),
        "host": socket.gethostname(),
        "argv": redacted_arguments(arguments),
        "python": platform.python_version(),
        "versions": _versions(),
        "commit": commit_around(Path(arguments[0] if arguments else "").absolute().parent) or commit_around(Path.cwd()),
        "job": job_attributes(os.environ),
        "world_size": settings.world_size,
        "group_id": settings.group_id,
        "stability": settings.stability.value,
        "recording": native.state(),
        **({"tags": list(settings.tags)} if settings.tags else {}),  # a session without any keeps those of the run
        **({"notes": settings.notes} if settings.notes else {}),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # a fifth of the time of 'import esper_otel'

    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _point(link: Path, target: str) -> None:
    """Make ``link`` a symbolic link to ``target`` atomically; any other file of that name is kept."""
    if link.exists() and not link.is_symlink():
        return
    draft = link.with_name(f".{link.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
