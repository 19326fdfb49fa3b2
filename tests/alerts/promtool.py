"""Runs promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.tools import tool
from tests.waiting import PATIENCE_S


def promtool(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and everything that it said."""
    command = [tool("promtool"), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    return ended.returncode, ended.stdout + ended.stderr
