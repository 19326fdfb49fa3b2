"""``run.json``: identity and state of a run, written by trainer and relay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from esper_otel.log.layout import RUN_FILE
from esper_otel.log.locks.lock import excluding_others
from esper_otel.log.opening import create, read_whole

MAX_BYTES: Final = 4 * 1024 * 1024
"""A manifest has a few KB."""


def read(run_dir: Path) -> dict[str, Any]:
    """The manifest of a run; empty when there is none, or only what a power loss leaves of one: nothing, or zeros.

    Raises:
        ValueError: ``run.json`` is not a JSON object; the message names the file.
        OSError: it cannot be read, is no regular file, or is longer than 4 MiB.
    """
    path = run_dir / RUN_FILE
    try:
        text = read_whole(path, MAX_BYTES).strip(b"\0 \t\r\n").decode("utf-8-sig")
        content = json.loads(text) if text else {}
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content


def read_or_tell(run_dir: Path, tell: Callable[[str], object]) -> dict[str, Any]:
    """The manifest of a run, empty where it cannot be read; ``tell`` gets the reason."""
    try:
        return read(run_dir)
    except (OSError, ValueError) as error:
        tell(f"{error}; what it says of the run is left out")
        return {}


def update(run_dir: Path, **fields: Any) -> dict[str, Any]:
    """Replace the given fields and return the whole manifest.

    Safe against other processes and threads that do the same, one of which is waited for by at most a second; a reader
    sees the old file or the new one.

    Raises:
        OSError: the directory is gone or cannot be written.
        ValueError: the present file is not a JSON object.
    """
    with excluding_others(run_dir / f".{RUN_FILE}.lock"):
        content = read(run_dir) | fields
        replace_file(run_dir / RUN_FILE, json.dumps(content, indent=2, default=str) + "\n")
    return content


class Session(NamedTuple):
    """The training process that wrote the manifest of a run, from its start to its end."""

    pid: Any
    started_at: Any


def session_of(content: Mapping[str, Any]) -> Session:
    """The session that ``content`` describes."""
    return Session(content.get("pid"), content.get("started_at"))


def record_end(run_dir: Path, session: Session, *, status: str, ended_at: str) -> None:
    """Record the end of ``session``, unless the manifest already has it or belongs to a later session.

    Raises:
        OSError: the directory is gone or cannot be written.
        ValueError: the present file is not a JSON object.
    """
    with excluding_others(run_dir / f".{RUN_FILE}.lock"):
        content = read(run_dir)
        if session_of(content) == session and content.get("status") != status:
            fields = {"status": status, "ended_at": content.get("ended_at") or ended_at}
            replace_file(run_dir / RUN_FILE, json.dumps(content | fields, indent=2, default=str) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Write ``path`` so that a reader sees the old content or the new one, never a part.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with create(draft) as file:
            file.write(text.encode())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
