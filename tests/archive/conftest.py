from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive.object_store import BUCKET, Proxy, Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def s3(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    """An empty bucket behind a proxy, and the variables by which this process and its children reach it."""
    server.empty()
    proxy = Proxy(server.port)
    for name, value in proxy.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield proxy
    proxy.close()


@pytest.fixture(params=["file", "s3"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty archive, in a directory and on S3."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://{BUCKET}/some/prefix"
    return f"file://{tmp_path}/archive"
