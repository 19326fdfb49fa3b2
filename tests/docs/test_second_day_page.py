"""The page of the second day: every reproduction has a test that is there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.tools import ROOT

ROWS = re.findall(
    r"^\| ([\w-]+) \| ([^|]+) \| (`[^|]+`) \|$",
    (ROOT / "docs" / "evidence" / "second-day.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_every_reproduction_has_a_row_of_its_own() -> None:
    assert len({name for name, _, _ in ROWS}) == len(ROWS) == 62


@pytest.mark.parametrize(("name", "tests"), [(name, tests) for name, _, tests in ROWS])
def test_the_tests_of_a_row_are_there(name: str, tests: str) -> None:
    for place in re.findall(r"`([^`]+)`", tests):
        path, _, test = place.partition("::")
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, name
