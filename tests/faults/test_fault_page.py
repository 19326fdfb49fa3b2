"""The page of faults names what is there."""

import re

from tests.tools import ROOT

PAGE = (ROOT / "docs" / "evidence" / "faults.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_refers_to_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.\w+)`", PAGE)

    assert len(named) > 10
    assert [] == [path for path in named if not (ROOT / path).exists()]


def test_the_table_has_no_failed_test() -> None:
    assert "| fault | runs |" in PAGE
    assert "FAILED" not in PAGE
