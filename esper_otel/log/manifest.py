"""``run.json``: what a run is and how it stands, written by the trainer and the relay alike."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from esper_otel.log.layout import RUN_FILE
from esper_otel.log.opening import create, open_to_change, read_whole

MAX_BYTES: Final = 4 * 1024 * 1024
"""A manifest has a few KB."""


def read(run_dir: Path) -> dict[str, Any]:
    """The manifest of a run; empty when there is none.

    Raises:
        ValueError: ``run.json`` is not a JSON object; the message names the file.
        OSError: it cannot be read, is no regular file, or is longer than 4 MiB.
    """
    path = run_dir / RUN_FILE
    try:
        content = json.loads(read_whole(path, MAX_BYTES).decode("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content


def update(run_dir: Path, **fields: Any) -> dict[str, Any]:
    """Replace the given fields and return the whole manifest.

    Safe against other processes and threads that do the same; a reader sees the old file or the new one.

    Raises:
        OSError: the directory is gone or cannot be written.
        ValueError: the present file is not a JSON object.
    """
    with _locked(run_dir):
        content = read(run_dir) | fields
        replace_file(run_dir / RUN_FILE, json.dumps(content, indent=2, default=str) + "\n")
    return content


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


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    # flock, not lockf: it belongs to the open file, so that threads of one process exclude each other as well
    fd = open_to_change(run_dir / f".{RUN_FILE}.lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
