"""Empty environments that a user's installer fills: our wheel, one of its extras, nothing of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tools import ROOT, tool
from tests.waiting import PATIENCE_S

PINNED = ("-c", str(ROOT / "constraints.txt"))


class Environment:
    """One of them.

    Attributes:
        extra: the extra that is installed; empty for none.
    """

    def __init__(self, directory: Path, wheel: Path, extra: str, *requirements: str) -> None:
        """Make it at ``directory`` from ``wheel`` and ``requirements`` in uv's notation."""
        self.extra = extra
        self._bin = directory / "bin"
        uv("venv", "--quiet", "--python", sys.executable, str(directory))
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        uv("pip", "install", "--quiet", "--python", str(self._bin / "python"), *requirements, wanted)

    def packages(self) -> set[str]:
        """Names of the installed packages."""
        found = uv("pip", "list", "--quiet", "--format", "freeze", "--python", str(self._bin / "python"))
        return {line.partition("==")[0] for line in found.splitlines()}

    def program(self, name: str) -> str:
        """Path of a program of the environment."""
        return str(self._bin / name)

    def run(self, name: str, *arguments: str | Path, status: int = 0, **variables: str) -> str:
        """What a program of the environment prints, its errors included; it must end with ``status``."""
        done = subprocess.run(
            [self.program(name), *map(str, arguments)],
            env=self.variables(**variables),
            cwd=self._bin,  # no checkout
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        assert status == done.returncode, done.stdout
        return done.stdout

    def variables(self, **more: str) -> dict[str, str]:
        """Variables of its programs: none that leads to this checkout, to programs of others, or sets telemetry up."""
        ours = ("ESPER_OTEL_", "OTEL_", "PYTHON", "WANDB_", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = os.pathsep.join([str(self._bin), os.defpath])
        return {**kept, "PATH": path, "OTEL_METRICS_EXPORTER": "none", **more}


def uv(*arguments: str, **variables: str) -> str:
    """What uv prints: from its cache where that holds everything, from the package index where not.

    Raises:
        CalledProcessError: neither does; its note holds what uv says.
    """
    command, environment = [tool("uv"), *arguments], os.environ | variables
    offline = environment | {"UV_OFFLINE": "1"}
    first = subprocess.run(command, env=offline, cwd=ROOT, capture_output=True, text=True)
    done = first
    if first.returncode != 0:
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, command)
        error.add_note(done.stderr)
        raise error
    return done.stdout


def wheel_in(directory: Path, source: Path = ROOT, **variables: str) -> Path:
    """Our wheel, built there from ``source``."""
    pins = ("--build-constraints", str(ROOT / "constraints.txt"))
    uv("build", "--quiet", "--wheel", *pins, "-o", str(directory), str(source), **variables)
    (wheel,) = directory.glob("*.whl")
    return wheel
