"""The long-running programs of the lab, each with a log of its own."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 300.0
"""Longest wait for a part of the lab to come up, s."""


class LabError(RuntimeError):
    """Tells what is wrong with the lab, and where to look."""


class Processes:
    """Starts programs; the end of the process namespace, in which they run, ends them."""

    def __init__(self, logs: Path) -> None:
        """Write each program's output to a file in ``logs``."""
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path, env: Mapping[str, str] | None = None) -> None:
        """Start ``command`` as ``name``."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env
            )

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for ``condition``.

        Raises:
            LabError: a program ended meanwhile, or the wait was too long.
        """
        end = time.monotonic() + PATIENCE_S
        while not condition():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise LabError(f"{name} ended with status {process.returncode}: see {self._logs / name}.log")
            if time.monotonic() > end:
                raise LabError(f"{what} did not happen within {PATIENCE_S:g} s: see the logs in {self._logs}")
            time.sleep(0.2)

    def pids(self) -> dict[str, int]:
        """Process id of each program by its name."""
        return {name: process.pid for name, process in self._running.items()}


def run(*command: str | Path, env: Mapping[str, str] | None = None, given: str | None = None) -> str:
    """Output of a command that must succeed.

    Raises:
        LabError: it did not.
    """
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=env, input=given, check=False
    )
    if done.returncode:
        raise LabError(f"'{' '.join(map(str, command))}' ended with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def tried(command: Sequence[str | Path]) -> bool:
    """Return True if a command succeeds."""
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode == 0
