"""The table of runs, asked of a real Prometheus: a row for each arm, an end for each run that is over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from grafana.queries import runs
from tests.browser.series import made, prometheus_of
from tests.grafana.lives import HOUR_S, LIVES, STEP_S, every_life_as_text
from tests.grafana.substituted import targets
from tests.prometheus.real_prometheus import Prometheus

REWARDS = {"A": 3.03, "B": 7.12}
MODES = {"A": "shaped", "B": "sparse"}
ARMS = {("tolaria.avg_reward", f'group_id="{arm}"'): reward for arm, reward in REWARDS.items()} | {
    ("esper.run.info", f'group_id="{arm}",reward_mode="{mode}"'): 1.0 for arm, mode in MODES.items()
}
PLAIN = {("tolaria.updates", 'group_id="default",model="Net"'): 40.0}
OF_THE_RUN = {"state", "started", "length", "until", "refresh"}
GOES_ON = {"running", "stalled", "end unknown"}

Rows = dict[tuple[str, str], dict[str, tuple[float, dict[str, str]]]]
"""Value and labels by column, of each run and arm."""


@pytest.fixture(scope="module")
def now() -> float:
    return float(int(time.time()) - 60)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, now: float) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("runs")
    newest = {("esper.relay.last_record.timestamp", ""): now}
    texts = [
        made(directory, "arms", ARMS | newest, now - HOUR_S, now + HOUR_S),
        made(directory, "plain", PLAIN | newest, now - HOUR_S, now + HOUR_S),
        every_life_as_text(directory, now),
    ]
    with prometheus_of(texts, directory) as found:
        yield found


@pytest.fixture(scope="module")
def rows(prometheus: Prometheus, now: float) -> Rows:
    (table,) = (one for one in targets("prometheus") if one.panel == "Runs of the last 30 days")
    text = table.filled(job="esper", instance="none is chosen")
    found: Rows = {}
    for one in prometheus._get("query", query=text, time=f"{now:.3f}")["result"]:
        labels = one["metric"]
        row = found.setdefault((labels["instance"], labels["group_id"]), {})
        row[labels["line"]] = (float(one["value"][1]), labels)
    return found


def test_a_run_with_two_arms_has_a_row_for_each(rows: Rows) -> None:
    assert {"A", "B"} == {arm for run, arm in rows if run == "arms"}
    assert REWARDS == {arm: rows["arms", arm]["last reward"][0] for arm in REWARDS}
    assert MODES == {arm: rows["arms", arm]["_"][1]["reward_mode"] for arm in MODES}


def test_what_is_known_of_the_run_stands_in_the_rows_of_both_arms(rows: Rows) -> None:
    told = [{name: row[name][0] for name in OF_THE_RUN} for (run, _), row in rows.items() if run == "arms"]

    assert told[0] == told[1]


@pytest.mark.parametrize("run", [*LIVES, "plain"])
def test_a_run_without_arms_has_one_row(rows: Rows, run: str) -> None:
    assert ["default"] == [arm for name, arm in rows if name == run]
    assert rows[run, "default"].keys() >= OF_THE_RUN


@pytest.mark.parametrize("run", LIVES)
def test_a_run_that_is_over_has_the_time_of_its_last_event_as_its_end_and_another_has_none(
    rows: Rows, now: float, run: str
) -> None:
    life = LIVES[run]
    end = None if life.word in GOES_ON else 1000 * (now - life.phases[-1][2])

    found = rows[run, "default"].get("ended")
    assert end == (None if found is None else found[0])


@pytest.mark.parametrize("run", LIVES)
def test_a_click_on_a_run_shows_it_up_to_two_minutes_after_its_end_or_up_to_now(
    rows: Rows, now: float, run: str
) -> None:
    life, row = LIVES[run], rows[run, "default"]
    lives = life.word in {"running", "stalled"}
    _, since, over = life.phases[-1]
    last_event = now - since + (since - over) // STEP_S * STEP_S
    until = 0.0 if lives else 1000 * (last_event + runs.AFTER_S)

    assert (float(lives), until) == (row["refresh"][0], row["until"][0])
