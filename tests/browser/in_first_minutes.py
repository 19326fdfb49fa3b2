"""A run that has just begun, a plain PyTorch loop and an esper-lite run: what they do not send is not shown as 0."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.browser.conftest import PLAIN, RECORDED
from tests.browser.in_numbers import numbers
from tests.browser.whole_stack import Stack
from tests.grafana.real_grafana import CONTENT, Grafana

NOT_MEASURED = "not measured"


def test_a_run_that_has_just_begun_is_running_and_pages_nobody(stack: Stack) -> None:
    assert ("running", []) == (stack.young, stack.paged_when_young)


@pytest.mark.parametrize("uid", ["esper-tamiyo", "esper-simic", "esper-kasmina"])
def test_boards_of_a_policy_show_no_number_of_a_plain_loop(grafana: Grafana, uid: str) -> None:
    shown = {title: [text for text, _ in words] for title, words in numbers(grafana, uid, PLAIN).items()}

    assert {} == {title: words for title, words in shown.items() if "0" in words}
    assert all(NOT_MEASURED in words or "No data" in " ".join(words) for words in shown.values())


def test_a_plain_loop_has_a_board_with_its_numbers(grafana: Grafana) -> None:
    page = grafana.solo("esper-tolaria", "Where the loop is", PLAIN)
    page.wait_for_load_state("networkidle")

    assert NOT_MEASURED not in page.inner_text(CONTENT)
    assert "500" in page.inner_text(CONTENT)


@pytest.mark.parametrize("name", ["lost events"])
def test_the_overview_counts_of_a_plain_loop_only_what_was_looked_for(grafana: Grafana, name: str) -> None:
    words = [text for text, _ in numbers(grafana, "esper-run", PLAIN)["Anomalies since the run began"]]

    assert [name] == [before for before, after in pairwise(words) if after == "0"]


def test_a_run_of_esper_lite_has_its_place_on_the_overview(grafana: Grafana) -> None:
    found = [text for text, _ in numbers(grafana, "esper-run", RECORDED)["Where it is"]]

    assert NOT_MEASURED not in found
    assert "0" not in found
