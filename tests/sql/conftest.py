from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from esper_otel.sql import connect
from tests.recorded import RECORDINGS, recording
from tests.sql.plain_python import lines_of, views_of


class Recorded(msgspec.Struct, frozen=True):
    """One recording: its views, and what plain Python makes of its lines."""

    path: Path
    connection: duckdb.DuckDBPyConnection
    expected: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session", params=RECORDINGS)
def recorded(request: pytest.FixtureRequest) -> Iterator[Recorded]:
    path = recording(request.param)
    with connect(path) as connection:
        yield Recorded(path, connection, views_of(lines_of(path)))
