from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.asked import Assistant, assistant
from tests.recorded import RECORDINGS, recording
from tests.sql.plain_python import lines_of


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the recordings and nothing else."""
    directory = tmp_path_factory.mktemp("recordings")
    for name in RECORDINGS:
        shutil.copyfile(recording(name), directory / f"{name}.jsonl.gz")
    return directory


@pytest.fixture(scope="session")
def asked(recordings: Path) -> Iterator[Assistant]:
    with assistant(recordings) as session:
        yield session


@pytest.fixture(scope="session")
def lines() -> dict[str, list[dict[str, Any]]]:
    """The recordings' lines as plain Python reads them."""
    return {name: lines_of(recording(name)) for name in RECORDINGS}
