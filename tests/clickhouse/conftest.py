from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.archive.conftest import s3, server
from tests.clickhouse.engine import ClickHouse

__all__ = ["s3", "server"]


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    engine = ClickHouse(tmp_path_factory.mktemp("answers"))
    yield engine
    engine.close()
