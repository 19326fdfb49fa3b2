"""Finished runs of the trainer that several tests read: each recipe is trained once in a test session."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S


def finished_run(factory: pytest.TempPathFactory, *options: str, run_id: str = "trained") -> Path:
    """A copy of its own of the directory of a run with ``options``, trained without a relay.

    Whoever asks first trains; the others, in whichever worker of the session they are, wait for it and copy.
    """
    session = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    shared = session / "shared" / " ".join((run_id, *options))
    shared.mkdir(parents=True, exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not (shared / "whole").exists():
            subprocess.run(
                [sys.executable, "-m", "trainer", *options, "--no-progress", "--telemetry-dir", str(shared / "runs")],
                cwd=ROOT,
                env=python_environment(ESPER_OTEL_RELAY="0", ESPER_OTEL_RUN_ID=run_id, OMP_NUM_THREADS="1"),
                check=True,
                capture_output=True,
                timeout=PATIENCE_S,
            )
            (shared / "whole").touch()
    return Path(shutil.copytree(shared / "runs" / run_id, factory.mktemp("telemetry") / run_id))
