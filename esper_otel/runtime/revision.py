"""The commit that a program was started at, read from git's files without git."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MAX_BYTES: Final = 4 * 1024 * 1024


def commit_around(directory: Path) -> str | None:
    """Commit of the working tree that ``directory`` lies in; None outside one. Blind to changes. Never raises."""
    try:
        at = next(one for one in (directory, *directory.parents) if (one / ".git").exists()) / ".git"
        if at.is_file():  # of a worktree or a submodule
            at = at.parent / _text(at).removeprefix("gitdir:").strip()
        head = _text(at / "HEAD")
        found = _of_branch(at, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head
    except (OSError, ValueError, StopIteration, RuntimeError):
        return None
    return found if found and _COMMIT.fullmatch(found) else None


def _of_branch(at: Path, name: str) -> str | None:
    """Commit of a branch, which worktrees share; one that is packed has no file of its own."""
    shared = at / _text(at / "commondir") if (at / "commondir").exists() else at
    if (shared / name).is_file():
        return _text(shared / name)
    lines = (line.split(" ", 1) for line in _text(shared / "packed-refs").splitlines() if " " in line)
    return next((commit for commit, branch in lines if branch == name), None)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode().strip()
