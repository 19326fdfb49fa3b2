"""Numbers of now are not those of the past: heads without a choice, the start of a run, contributions of seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from esper_otel.alerts.promql import series
from esper_otel.events import Event, SeedFossilized, SeedPruned
from esper_otel.relay.metrics.state import MetricState
from grafana.layout.annotations import MARKS
from grafana.queries.truth import at_every_step
from tests.grafana.asked import verdict
from tests.grafana.substituted import EVERYTHING, Target, fill, lines

OVER: Final = "0.9x20 _x40"
"""Samples of a run that ended after five minutes."""

CHOSEN: Final = {**EVERYTHING, "job": "esper", "instance": "run", "__rate_interval": "1m"}


def _line(panel: str, name: str) -> Target:
    return next(one for one in lines() if one.panel == panel and f"tamiyo_head_{name}" in one.text)


@pytest.mark.parametrize("name", ["entropy", "grad_norm", "policy_ratio_max", "kl", "clip_fraction"])
def test_a_head_that_had_no_choice_in_the_last_update_of_a_run_that_is_over_has_no_number(
    tmp_path: Path, name: str
) -> None:
    given = {
        series(f"tamiyo.head_{name}", head="op"): OVER,
        series(f"tamiyo.head_{name}", head="tempo"): "0.9x10 _x50",
        series("tamiyo.head_learnable_fraction", head="op"): "0.5x20 _x40",
        series("tamiyo.head_learnable_fraction", head="tempo"): "0.5x10 0x9 _x40",
    }
    asked = _line("Heads now", name).filled(job="esper", instance="run")

    assert "SUCCESS" in verdict(tmp_path, asked, given, {'{group_id="default", head="op"}': 0.9})


def test_a_head_of_a_producer_that_does_not_tell_which_had_a_choice_keeps_its_number(tmp_path: Path) -> None:
    given = {series("tamiyo.head_entropy", head="op"): OVER}
    asked = _line("Heads now", "entropy").filled(job="esper", instance="run")

    assert "SUCCESS" in verdict(tmp_path, asked, given, {'{group_id="default", head="op"}': 0.9})


_MARK: Final = at_every_step(next(mark.what.text for mark in MARKS if mark.name == "Run start"))
START: Final = fill(_MARK, CHOSEN)
TRAINING: Final = {series("simic.training_start.timestamp", group_id=arm): "1060x60" for arm in ("A", "B")}


def test_the_mark_of_the_start_is_that_of_the_process_and_not_that_of_the_training(tmp_path: Path) -> None:
    beats = {
        series("esper.last_heartbeat.timestamp", rank=rank): f"{1010 + int(rank)}+15x60" for rank in ("0", "1")
    } | {series("esper.log.uptime", rank=rank): "10+15x60" for rank in ("0", "1")}

    found = {'{job="esper", instance="run"}': 1_000_000.0}
    assert "SUCCESS" in verdict(tmp_path, START, TRAINING | beats, found)


def test_the_start_of_a_run_is_marked_whichever_of_its_arms_is_chosen(tmp_path: Path) -> None:
    beats = {series("esper.last_heartbeat.timestamp"): "1010+15x60", series("esper.log.uptime"): "10+15x60"}
    asked = fill(_MARK, CHOSEN | {"group_id": "A"})

    found = {'{job="esper", instance="run"}': 1_000_000.0}
    assert "SUCCESS" in verdict(tmp_path, asked, TRAINING | beats, found)


def test_without_heartbeats_it_is_that_of_the_training(tmp_path: Path) -> None:
    assert "SUCCESS" in verdict(tmp_path, START, TRAINING, {'{job="esper", instance="run"}': 1_060_000.0})


ENDS: Final[tuple[Event, ...]] = (
    SeedFossilized(blueprint_id="conv_light", counterfactual=2.5),
    SeedPruned(blueprint_id="conv_light", counterfactual=-0.75),
    SeedPruned(blueprint_id="norm", counterfactual=-0.5),
    SeedPruned(blueprint_id="attention", counterfactual=None),
)


def _summed(name: str) -> dict[str, float]:
    """Value of a counter by blueprint, as the relay has it after those seeds."""
    state = MetricState()
    for event in ENDS:
        state.apply(event, group_id="default", rank=0, timestamp_ns=1)
    (family,) = (one for one in state.collect(2) if one.name == name)
    return {values[-1]: float(value) for values, value in family.points.items() if isinstance(value, float)}


def test_the_contribution_of_a_blueprint_is_the_sum_over_its_seeds_that_were_measured(tmp_path: Path) -> None:
    (asked,) = {one.text for one in lines() if one.panel == "Blueprints" and "contribution" in one.text}
    given = {
        series(name, blueprint=blueprint): f"{value:g}x60"
        for name in ("kasmina.contribution_gained", "kasmina.contribution_lost")
        for blueprint, value in _summed(name).items()
    }
    found = {'{group_id="default", blueprint="conv_light"}': 1.75, '{group_id="default", blueprint="norm"}': -0.5}

    assert "SUCCESS" in verdict(tmp_path, fill(asked, CHOSEN), given, found)
