"""Modules and folders stay small enough to be read at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.tools import ROOT

PACKAGES = ("esper_otel", "grafana", "deploy", "trainer")
MOST_LINES = 300
MOST_MODULES = 20
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_no_module_is_longer_than_300_lines() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in MODULES}

    assert {} == {name: length for name, length in lengths.items() if length > MOST_LINES}


def test_no_folder_has_more_than_20_modules() -> None:
    counts = Counter(path.parent for path in MODULES if path.name != "__init__.py")

    assert {} == {folder(path): count for path, count in counts.items() if count > MOST_MODULES}


def folder(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
