"""The command that a message names to install an extra works for who installed from a checkout, a wheel, an index."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from esper_otel.text import extras


@pytest.mark.parametrize(
    ("direct_url", "command"),
    [
        (None, 'pip install "esper-otel[sql]"'),
        ({"url": "file://{here}", "dir_info": {}}, 'pip install "esper-otel[sql] @ file://{here}"'),
        ({"url": "file://{here}", "dir_info": {"editable": True}}, 'pip install -e "{here}[sql]"'),
        ({"url": "file://{here}/my%20src", "dir_info": {"editable": True}}, 'pip install -e "{here}/my src[sql]"'),
        ({"url": "file://{here}/removed", "dir_info": {}}, 'pip install "esper-otel[sql]"'),
        ({"url": "https://example.org/e.git", "vcs_info": {}}, 'pip install "esper-otel[sql]"'),
        (["odd"], 'pip install "esper-otel[sql]"'),
    ],
)
def test_an_extra_is_installed_from_where_the_package_came(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, direct_url: object, command: str
) -> None:
    (tmp_path / "my src").mkdir()
    text = None if direct_url is None else json.dumps(direct_url).replace("{here}", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: SimpleNamespace(read_text=lambda _: text))

    assert extras.install("sql") == command.replace("{here}", str(tmp_path))


def test_a_package_without_metadata_is_installed_from_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.distribution", absent)

    assert extras.install("sql") == 'pip install "esper-otel[sql]"'
