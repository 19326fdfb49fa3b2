"""A run that is over shows how it ended: the seeds at its end, and the alerts that fired in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.alerts.promql import series
from tests.grafana.asked import assert_finds

ENDED = "x18 _x42"
"""Samples of a run that ended after four and a half minutes: no sample of it is as young as five when it is asked."""


def _slot(slot: str, stage: str, **more: str) -> dict[str, str]:
    """Series of a slot that is in ``stage`` at the end of the run; ``more`` are gauges of its seed by name."""
    states = {
        series("kasmina.seed_state", slot=slot, env_id="0", stage=each): f"{int(each == stage)}{ENDED}"
        for each in ("DORMANT", "TRAINING", "BLENDING")
    }
    return states | {series(f"kasmina.seed_{name}", slot=slot, env_id="0"): text for name, text in more.items()}


SLOTS = {
    **_slot("r0c0", "BLENDING", alpha=f"0.5{ENDED}", contribution=f"2{ENDED}"),
    **_slot("r0c1", "DORMANT", alpha="0.25x10 _x50", contribution="1x10 _x50"),
    **_slot("r0c2", "TRAINING", alpha=f"0{ENDED}", contribution="1x10 _x50"),
}


@pytest.mark.parametrize(
    ("column", "found"), [("alpha", {"r0c0": 0.5, "r0c2": 0.0}), ("contribution", {})], ids=["alpha", "contribution"]
)
def test_the_table_of_seeds_has_those_at_the_end_of_the_run_and_no_number_of_an_earlier_one(
    tmp_path: Path, column: str, found: dict[str, float]
) -> None:
    expected = {f'{{env_id="0", group_id="default", slot="{slot}"}}': value for slot, value in found.items()}

    assert_finds(tmp_path, "Seeds now", column, SLOTS, expected)


def test_a_slot_that_had_seeds_of_two_blueprints_does_not_tell_which_was_the_last(tmp_path: Path) -> None:
    def blueprint(slot: str, name: str, values: str) -> dict[str, str]:
        return {series("kasmina.seed_blueprint", slot=slot, env_id="0", blueprint=name): values}

    names = {
        **blueprint("r0c0", "norm", "1x10 _x50"),
        **blueprint("r0c0", "attention", "_x10 1x10 _x40"),
        **blueprint("r0c2", "norm", f"1{ENDED}"),
    }

    found = {'{blueprint="norm", env_id="0", group_id="default", slot="r0c2"}': 1.0}
    assert_finds(tmp_path, "Seeds now", "__", SLOTS | names, found)


RUN = 'job="esper", instance="run", severity="warning", domain="tamiyo"'
GONE = f'alertname="TamiyoGone", {RUN}'
FIRES = f'alertname="TamiyoFires", {RUN}'
ALERTS = {
    f'ALERTS{{alertstate="firing", {GONE}}}': "1x10 _x50",
    f"ALERTS_FOR_STATE{{{GONE}}}": "60x10 _x50",
    f'ALERTS{{alertstate="firing", {FIRES}}}': "1x60",
    f"ALERTS_FOR_STATE{{{FIRES}}}": "120x60",
    f'ALERTS{{alertstate="pending", alertname="TamiyoPending", {RUN}}}': "1x60",
    f'ALERTS_FOR_STATE{{alertname="TamiyoPending", {RUN}}}': "180x60",
}


@pytest.mark.parametrize(
    ("column", "gone", "fires"),
    [
        ("state", 0.0, 1.0),
        ("since", 60_000.0, 120_000.0),
        ("age", None, 480.0),
        ("from", 60_000.0 - 900_000, 120_000.0 - 900_000),
        ("to", 60_000.0 + 1_800_000, 600_000.0),
    ],
)
def test_the_table_of_alerts_has_those_that_fire_and_those_that_resolved_and_none_that_never_fired(
    tmp_path: Path, column: str, gone: float | None, fires: float
) -> None:
    values = {"TamiyoGone": gone, "TamiyoFires": fires}
    found = {
        f'{{alertname="{name}", domain="tamiyo", severity="warning"}}': value
        for name, value in values.items()
        if value is not None
    }

    assert_finds(tmp_path, "Alerts of the run", column, ALERTS, found)
