"""Programs of other people, run as they are: by one of the doors, or without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.waiting import PATIENCE_S

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent


class Ran(msgspec.Struct):
    """Output of a program and lines of its logs, each by rank."""

    own: list[dict[str, Any]]
    lines: list[list[dict[str, Any]]]
    run: dict[str, Any]
    error: str
    status: int

    def of(self, event_type: str, rank: int = 0) -> list[dict[str, Any]]:
        return [line["data"] for line in self.lines[rank] if line["event_type"] == event_type]

    def updates(self, rank: int = 0) -> list[dict[str, Any]]:
        return self.of("TOLARIA_TRAINING_UPDATE", rank)


def environment(directory: Path, **variables: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "ESPER_OTEL_TELEMETRY_DIR": str(directory / "telemetry"),
        "ESPER_OTEL_RELAY": "0",
        "OMP_NUM_THREADS": "1",
        "OTEL_PYTHON_DISTRO": "none",
        "OTEL_PYTHON_CONFIGURATOR": "none",
        **variables,
    }


def launched(door: str, program: str, *arguments: str, ranks: int = 1) -> list[str]:
    """The command line that runs a program by a door: ``run``, ``instrument`` or none."""
    script = str(PROGRAMS / program)
    torchrun = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", str(ranks), script, *arguments]
    if door == "run":
        return [str(BIN / "esper-otel"), "run", *(torchrun if ranks > 1 else [script, *arguments])]
    started = torchrun if ranks > 1 else [sys.executable, script, *arguments]
    return [str(BIN / "opentelemetry-instrument"), *started] if door == "instrument" else started


def ran(door: str, directory: Path, program: str, *options: str, ranks: int = 1, **variables: str) -> Ran:
    """Run a program of :data:`PROGRAMS` to its end."""
    directory.mkdir(exist_ok=True)
    out = directory / "own.json"
    done = subprocess.run(
        launched(door, program, str(out), *options, ranks=ranks),
        env=environment(directory, **variables),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return read(directory, done)


def read(directory: Path, done: subprocess.CompletedProcess[str]) -> Ran:
    """Output and logs of a program that ended."""
    files = sorted(directory.glob("own*.json"))
    run = directory / "telemetry" / "latest"
    logs = sorted(run.glob("events*.jsonl"), key=lambda log: (log.name != "events.jsonl", log.name))
    return Ran(
        own=[json.loads(file.read_text()) for file in files],
        lines=[[json.loads(line) for line in log.read_text().splitlines()] for log in logs],
        run=json.loads((run / "run.json").read_text()) if run.exists() else {},
        error=done.stderr,
        status=done.returncode,
    )
