"""Scripts that a test runs as processes of their own, and what they left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from esper_otel.runtime.settings import Settings, gather
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

NAMES = ("telemetry_dir", "run_id", "rank", "world_size", "relay", "linger_s")
"""Arguments of ``configure()`` that a variable can set."""


def settings_of(environment: dict[str, str], **arguments: Any) -> Settings:
    """The settings of a process with these variables and arguments."""
    return gather(**{**dict.fromkeys(NAMES), "group_id": "default", **arguments}, environment=environment)


def script(directory: Path, body: str, *launcher: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``body`` as the script of an interpreter, started by ``launcher``; its telemetry goes to ``directory``."""
    path = directory / "script.py"
    imports = "import os, signal, sys, time\nimport esper_otel\nfrom esper_otel.events import Decision, PolicyUpdate\n"
    path.write_text(f"{imports}{body}\n")
    return subprocess.run(
        [*launcher, sys.executable, str(path)], capture_output=True, text=True, timeout=PATIENCE_S, cwd=directory,
        env=environment(directory, **env),
    )  # fmt: skip


def environment(directory: Path, **extra: str) -> dict[str, str]:
    """Environment of a script whose runs go to ``directory``."""
    return python_environment(
        **{
            "ESPER_OTEL_TELEMETRY_DIR": str(directory / "telemetry"),
            "ESPER_OTEL_LINGER": "0",
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            **extra,
        }
    )


def runs_in(directory: Path) -> list[str]:
    """Names of the runs that scripts in ``directory`` made."""
    return sorted(path.parent.name for path in (directory / "telemetry").glob("[!l]*/events.jsonl"))


def lines_of(run: Path) -> list[dict[str, Any]]:
    """Lines of a log."""
    return [json.loads(line) for line in (run / "events.jsonl").read_bytes().splitlines()]


def types_of(run: Path) -> Counter[str]:
    """How many lines of each type a log has."""
    return Counter(line["event_type"] for line in lines_of(run))


def losses_of(run: Path) -> Counter[str]:
    """Lost events by reason, as the log tells them."""
    lost: Counter[str] = Counter()
    for line in lines_of(run):
        if line["event_type"] == "TELEMETRY_LOSS":
            lost[line["data"]["reason"]] += line["data"]["count"]
    return lost


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def kill(pid: int | None) -> None:
    """End a process that a test started."""
    if pid is not None and is_alive(pid):
        os.kill(pid, 9)
