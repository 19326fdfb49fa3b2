"""A dashboard tells the truth of a run in every state of its life, whatever time it shows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import groupby

import pytest

from grafana.queries.truth import STATES
from tests.grafana.drawn import Drawn, drawn, panel
from tests.grafana.lives import HOUR_S, LIVES, STEP_S, every_life
from tests.grafana.substituted import Target, targets
from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.relay.processes import manifest, process
from tests.waiting import wait_for

GREY = "#8e8e8e"
NUMBERS = ("State", "Last event", "Anomalies since the run began")


def _queries(title: str) -> list[Target]:
    return [one for one in targets("prometheus") if (one.uid, one.panel) == ("esper-run", title)]


def _shown(prometheus: Prometheus, title: str, run: str, at: float, shown: str = "1h") -> list[Drawn]:
    """The numbers of a panel of the overview at a moment; grey words where nothing is found."""
    of = panel("esper-run", title)
    found = []
    for one in _queries(title):
        text = one.filled(job="esper", instance=run, shown=shown)
        series = prometheus._get("query", query=text, time=f"{at:.3f}")["result"]
        found += [drawn(of, float(each["value"][1])) for each in series]
    return found or [drawn(of, None)]


def _state(prometheus: Prometheus, run: str, at: float) -> Drawn:
    (found,) = _shown(prometheus, "State", run, at)
    return found


def _drawn(prometheus: Prometheus, run: str) -> Drawn | None:
    """The state as it is drawn now, None while the board knows no such run."""
    found = _state(prometheus, run, time.time())
    return None if found.text == "no such run" else found


@pytest.fixture(scope="module")
def now() -> float:
    return float(int(time.time()) - 60)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, now: float) -> Iterator[Prometheus]:
    with every_life(tmp_path_factory.mktemp("lives"), now) as found:
        yield found


@pytest.mark.parametrize("run", LIVES)
def test_the_state_of_a_run_is_that_of_now(prometheus: Prometheus, now: float, run: str) -> None:
    assert Drawn(LIVES[run].word, LIVES[run].colour) == _state(prometheus, run, now)


def test_a_run_that_does_not_exist_is_grey_and_has_no_state(prometheus: Prometheus, now: float) -> None:
    assert Drawn("no such run", GREY) == _state(prometheus, "nobody", now)


@pytest.mark.parametrize("title", NUMBERS)
def test_no_number_of_a_run_that_does_not_exist_is_green(prometheus: Prometheus, now: float, title: str) -> None:
    assert {GREY} == {one.colour for one in _shown(prometheus, title, "nobody", now)}


@pytest.mark.parametrize(("run", "age_s"), [("finished", HOUR_S), ("killed", 480.0)])
def test_the_last_event_goes_on_ageing_after_the_end(
    prometheus: Prometheus, now: float, run: str, age_s: float
) -> None:
    (at_once,) = _shown(prometheus, "Last event", run, now)
    (later,) = _shown(prometheus, "Last event", run, now + 120)

    assert (age_s, age_s + 120) == (float(at_once.text), float(later.text))


def test_the_last_event_of_a_run_that_lives_is_seconds_old(prometheus: Prometheus, now: float) -> None:
    shown = [_shown(prometheus, "Last event", "running", now + later) for later in (0, 120)]
    ages = [float(one.text) for (one,) in shown]

    assert [True, True] == [age < STEP_S for age in ages]


@pytest.mark.parametrize("run", ["finished", "killed", "failed", "interrupted", "died"])
def test_the_end_of_a_run_that_is_over_is_a_time_that_stays(prometheus: Prometheus, now: float, run: str) -> None:
    (asked,) = _queries("Ended")
    text = asked.filled(job="esper", instance=run)
    shown = [
        [float(one["value"][1]) for one in prometheus._get("query", query=text, time=f"{now + after:.3f}")["result"]]
        for after in (0.0, 24 * HOUR_S)
    ]

    assert [[1000 * (now - LIVES[run].phases[-1][2])]] * 2 == shown


@pytest.mark.parametrize("run", ["running", "stalled", "resumed", "gap", "backfilled", "nobody"])
def test_a_run_that_goes_on_or_whose_end_nobody_knows_has_none(prometheus: Prometheus, now: float, run: str) -> None:
    assert [Drawn("no end known", GREY)] == _shown(prometheus, "Ended", run, now)


@pytest.mark.parametrize("run", ["finished", "killed", "failed"])
def test_the_final_numbers_do_not_depend_on_the_time_shown(prometheus: Prometheus, now: float, run: str) -> None:
    ranges = [_shown(prometheus, "Anomalies since the run began", run, now, shown) for shown in ("30m", "24h", "7d")]
    next_week = _shown(prometheus, "Anomalies since the run began", run, now + 7 * 24 * HOUR_S)

    assert ranges[0] == ranges[1] == ranges[2] == next_week
    assert "red" in {one.colour for one in next_week}


@pytest.mark.parametrize(
    ("run", "word", "colour"),
    [
        ("resumed", "no alert fires", "green"),
        ("stalled", "critical: act on the alerts below, the critical ones first", "red"),
        ("running", "no verdict: the run is over, or no rules are evaluated", GREY),
        ("finished", "no verdict: the run is over, or no rules are evaluated", GREY),
        ("nobody", "no verdict: the run is over, or no rules are evaluated", GREY),
    ],
)
def test_the_verdict_is_that_of_the_alerts(
    prometheus: Prometheus, now: float, run: str, word: str, colour: str
) -> None:
    assert [Drawn(word, colour)] == _shown(prometheus, "Verdict", run, now)


def _lane(prometheus: Prometheus, run: str, now: float) -> list[str]:
    """The words of the lane in a chart of two hours, one after the other."""
    (one,) = [each for each in targets("prometheus") if each.panel == "State of the run"]
    text = one.filled(job="esper", instance=run)
    times = {"start": f"{now - 2 * HOUR_S:.0f}", "end": f"{now:.0f}", "step": "30"}
    (lane,) = prometheus._get("query_range", query=text, **times)["result"]
    return [STATES[int(float(value))][0] for value, _ in groupby(value for _, value in lane["values"])]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("finished", ["running", "finished"]),
        ("killed", ["running", "vanished"]),
        ("resumed", ["running", "died", "running"]),
        ("gap", ["running", "vanished", "running"]),
        ("stalled", ["running", "stalled"]),
        ("failed", ["running", "failed"]),
    ],
)
def test_the_panel_that_alerts_link_to_has_one_lane_with_every_state(
    prometheus: Prometheus, now: float, run: str, words: list[str]
) -> None:
    assert words == _lane(prometheus, run, now)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, str, list[Drawn]]]:
    """A run whose trainer and relay were killed; the states that were drawn before."""
    directory = tmp_path_factory.mktemp("killed")
    telemetry = directory / "telemetry"
    telemetry.mkdir()
    command = ("-m", "trainer", "--recipe", "demo", "--rounds", "500", "--telemetry-dir", str(telemetry))
    with prometheus_on(telemetry / "prometheus_targets.json", directory) as server, process(*command) as trainer:
        run = wait_for(lambda: next(telemetry.glob("*/run.json"), None), "the run's directory").parent.resolve()
        server.wait_for(f'esper_run_status{{instance="{run.name}"}} == 1')
        before = [wait_for(lambda: _drawn(server, run.name), "the run on the board")]
        server.wait_for(f'tolaria_epochs_total{{instance="{run.name}"}} > 0')
        server.wait_for(f'esper_relay_last_record_timestamp_seconds{{instance="{run.name}"}} > 0')
        before.append(_state(server, run.name, time.time()))
        relay = manifest(run)["relay"]["pid"]
        os.kill(relay, signal.SIGKILL)  # first, or it would report the death
        trainer.send_signal(signal.SIGKILL)
        server.wait_for(f'up{{instance="{run.name}"}} == 0')
        yield server, run.name, before


Killed = tuple[Prometheus, str, list[Drawn]]


def test_a_run_is_running_from_its_start(killed: Killed) -> None:
    _, _, before = killed

    assert [Drawn("running", "green")] * 2 == before


def test_a_run_that_is_killed_with_its_relay_has_vanished_a_minute_later(killed: Killed) -> None:
    server, run, _ = killed
    soon = time.time() + 70.0

    assert Drawn("vanished", "purple") == _state(server, run, soon)
    (age,) = _shown(server, "Last event", run, soon)
    assert float(age.text) >= 60.0


def test_what_a_killed_run_showed_last_stays(killed: Killed) -> None:
    server, run, _ = killed
    soon, tomorrow = (_shown(server, "Where it is", run, time.time() + later) for later in (120.0, 24 * HOUR_S))

    assert soon == tomorrow
    assert GREY not in {one.colour for one in soon}
