from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import pytest

from tests.recorded import RECORDINGS, recording
from tests.recordings.served_run import Served, relay_on, scrape
from tests.recordings.sql_counts import lines_of


class Run(msgspec.Struct, frozen=True):
    """One recording: what the relay serves of it, and its raw lines in DuckDB."""

    path: Path
    served: Served
    lines: duckdb.DuckDBPyConnection


@pytest.fixture(scope="session", params=RECORDINGS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    path = recording(request.param)
    with relay_on(path) as url:
        served = scrape(url)
    with lines_of(path, tmp_path_factory.mktemp("plain") / "events.jsonl") as lines:
        yield Run(path, served, lines)
