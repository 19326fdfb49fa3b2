"""A time without samples is a gap in what is drawn."""

from __future__ import annotations

import pytest

from tests.browser.canvas import coloured, widest_gap
from tests.grafana.lives import LIVES
from tests.grafana.real_grafana import Grafana

RUN, STATE = ("esper-run", "Accuracy of the hosts"), ("esper-esper", "State of the run")


def _share_away() -> float:
    """The scrape gap of the run as a share of all its time."""
    (_, first, away), (_, back, _) = LIVES["gap"].phases
    return (away - back) / first


def test_a_scrape_gap_is_a_gap_in_the_line(grafana: Grafana) -> None:
    page = grafana.solo(*RUN, "gap")

    assert pytest.approx(_share_away(), abs=0.08) == widest_gap(coloured(page))


def test_a_run_is_vanished_in_a_scrape_gap(grafana: Grafana) -> None:
    drawn = coloured(grafana.solo(*STATE, "gap"))
    lane = {x for x, _, _ in drawn}
    vanished = {x for x, _, colour in drawn if colour == ""}

    assert pytest.approx(_share_away(), abs=0.08) == len(vanished) / len(lane)


@pytest.mark.parametrize(("uid", "title"), [RUN, STATE])
def test_a_run_without_a_gap_is_drawn_without_one(grafana: Grafana, uid: str, title: str) -> None:
    assert widest_gap(coloured(grafana.solo(uid, title, "stalled"))) < 0.03
