"""Figures of fault tests on their way to the table, and the weights that training without telemetry ends with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from esper_otel.native import state
from tests.faults.ledger import WHOLE, Entry, Figures, keep
from tests.faults.runs import LEARNER, train
from tests.faults.shim import build_shim

_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(name, holds): a row of the fault table")
    config.addinivalue_line("markers", "whole: takes too long for the quick selection")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what takes long to the whole campaign."""
    kept = [item for item in items if WHOLE or item.get_closest_marker("whole") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """What the test counts for the table."""
    return request.node.stash.setdefault(_FIGURES, Figures())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is not None and (report.when == "call" or report.outcome != "passed"):
        reason = str(call.excinfo.value) if call.excinfo is not None else ""
        figures = item.stash.get(_FIGURES, Figures())
        name, holds = marker.kwargs["name"], marker.kwargs["holds"]
        keep(Entry(name, holds, item.nodeid, report.outcome, reason[:300], figures, state()))
    return report


@pytest.fixture(scope="session")
def silent_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Hash of the weights that a learner has after so many steps without telemetry; trained once."""
    known: dict[tuple[int, str], str] = {}

    def weights(steps: int, name: str = LEARNER) -> str:
        if (steps, name) not in known:
            directory = tmp_path_factory.mktemp("silent")
            with train(directory, "--no-telemetry", steps=steps, pause=0.0, learner=name) as trainer:
                known[steps, name] = trainer.finish()["weights"]
        return known[steps, name]

    return weights


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared library that makes writing to a log slow or fail."""
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def mounted(tmp_path: Path) -> Any:
    """Mounts a small tmpfs at a new directory and gives it; taken away at the end."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
