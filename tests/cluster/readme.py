"""The commands of deploy/k8s/README.md, run as they are written there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.k8s.rendering import MANIFESTS
from tests.waiting import PATIENCE_S


def run_commands(beginning: str, directory: Path, **replaced: str) -> subprocess.CompletedProcess[str]:
    """Run the block of commands that begins with ``beginning`` in ``directory``, with words replaced."""
    readme = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(rf"^    {re.escape(beginning)}.*?(?=^\S)", readme, re.MULTILINE | re.DOTALL)
    for word, other in replaced.items():
        commands = commands.replace(word, other)
    return subprocess.run(
        ["sh", "-euc", commands],
        cwd=directory,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
