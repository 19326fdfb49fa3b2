"""The requests of a refresh, and the scrapes that many runs hand out."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benchmarks.dashboarding.many_runs import pages_of
from benchmarks.dashboarding.requests import BEFORE, requests
from benchmarks.table.parts import give
from deploy.stack.stores import DASHBOARDS


@pytest.mark.parametrize("uid", BEFORE)
def test_a_refresh_of_a_board_asks_at_most_half_of_what_it_asked_before(uid: str) -> None:
    assert requests(DASHBOARDS / f"{uid}.json").together <= BEFORE[uid].together / 2


def test_each_time_of_an_openmetrics_text_is_one_scrape_without_the_labels_of_the_target(tmp_path: Path) -> None:
    text = tmp_path / "run.om"
    text.write_text(
        '# TYPE a counter\na_total{job="esper",instance="r",rank="1"} 1.0 10\n'
        'a_total{rank="1",job="esper",instance="r"} 2.0 25.5 # {trace_id="x"} 1.0 25.0\n'
        'b{instance="r",job="esper"} NaN 25.5\n# EOF\n'
    )

    scrapes = [gzip.decompress(page).decode() for page in pages_of(text)]

    assert ['a_total{rank="1"} 1.0\n', 'a_total{rank="1"} 2.0\nb{} NaN\n'] == scrapes


def test_a_part_replaces_what_stands_between_its_marks_and_a_page_without_them_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a: written by b.py -->\nold\n<!-- end of a -->\nafter\n")

    give("a", "b.py", "new\n", page)

    assert "before\n<!-- a: written by b.py -->\nnew\n<!-- end of a -->\nafter\n" == page.read_text()
    with pytest.raises(ValueError, match=r"page\.md has no part 'c'"):
        give("c", "b.py", "new\n", page)
