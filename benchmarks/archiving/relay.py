"""The relay that archives the long run, killed again and again, and the figures of its processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import IO, Final

import msgspec

from benchmarks.scaling.processes import cpu_s

HELPER: Final = "esper_otel.sql.archiving.helper"
DRAIN_S: Final = 7200
FAILURES: Final = re.compile(r'^esper_relay_export_failures_total\{[^}]*signal="archive"[^}]*\} (\S+)$', re.MULTILINE)


class Figures(msgspec.Struct):
    """Sums over all relays so far.

    Attributes:
        failures: attempts to archive that failed.
        peak_mb: largest resident memory of an archiving process.
        core_s: seconds of the processor that archiving processes took, by process.
    """

    failures: dict[int, float] = msgspec.field(default_factory=dict)
    peak_mb: float = 0.0
    core_s: dict[int, float] = msgspec.field(default_factory=dict)


class Relay:
    """``esper-otel relay RUN --follow --archive URL`` as a process."""

    def __init__(self, run: Path, url: str, variables: dict[str, str], said: IO[str]) -> None:
        """Prepare one that writes to ``said``."""
        self.figures = Figures()
        self._run, self._said = run, said
        self._command = [sys.executable, "-m", "esper_otel.relay", str(run), "--follow", "--linger", "0"]
        self._command += ["--drain", str(DRAIN_S), "--archive", url]
        self._environment = os.environ | variables | {"OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
        self._process = self._started()

    def kill(self) -> None:
        """Kill it without a warning, and start the next one."""
        self.sample()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = self._started()

    def close(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.wait()

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def sample(self) -> None:
        """Note what it counts, and what its archiving process takes."""
        for pid in _children(self._process.pid):
            try:
                if HELPER in Path(f"/proc/{pid}/cmdline").read_text():
                    self.figures.core_s[pid] = cpu_s(pid)
                    self.figures.peak_mb = max(self.figures.peak_mb, _peak_mb(pid))
            except OSError:
                continue  # it ended meanwhile
        try:
            told = json.loads((self._run / "run.json").read_text()).get("relay") or {}
            if told.get("pid") == self._process.pid:
                with urllib.request.urlopen(told["prometheus_url"], timeout=10) as answer:
                    found = FAILURES.findall(answer.read().decode())
                self.figures.failures[self._process.pid] = sum(map(float, found))
        except (OSError, ValueError):
            return  # it does not serve yet, or no longer

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stdout=self._said, stderr=self._said)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _peak_mb(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0
