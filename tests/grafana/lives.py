"""Runs in every state of docs/reference/run-lifecycle.md, as a real Prometheus has them that was away meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.signals.attributes import ATTRIBUTES
from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.tools import tool

STATES: Final = ATTRIBUTES["esper.run.state"].values
STEP_S: Final = 15
HOUR_S: Final = 3600.0
LATER_S: Final = -3600.0
"""A run that lives goes on for as long as the tests may take."""

Phase = tuple[str | None, float, float]
"""A state, and from when to when a relay reported it, in seconds before the present; None where it reports none."""


class Life(msgspec.Struct, frozen=True):
    """One run: what its relay reported, and what a person should see now."""

    phases: tuple[Phase, ...]
    word: str
    colour: str


LIVES: Final[dict[str, Life]] = {
    "running": Life((("running", 600, LATER_S),), "running", "green"),
    "stalled": Life((("running", 1200, 400), ("stalled", 400, LATER_S)), "stalled", "orange"),
    "finished": Life((("running", 5400, 3630), ("finished", 3630, HOUR_S)), "finished", "blue"),
    "interrupted": Life((("running", 900, 500), ("interrupted", 500, 470)), "interrupted", "#b38600"),
    "failed": Life((("running", 900, 500), ("failed", 500, 470)), "failed", "red"),
    "died": Life((("running", 900, 500), ("died", 500, 470)), "died", "dark-red"),
    "killed": Life((("running", 1500, 480),), "vanished", "purple"),
    "stalled-and-killed": Life((("running", 1500, 900), ("stalled", 900, 480)), "vanished", "purple"),
    "resumed": Life((("running", 4000, 3000), ("died", 3000, 2970), ("running", 300, LATER_S)), "running", "green"),
    "gap": Life((("running", 1800, 1200), ("running", 720, LATER_S)), "running", "green"),
    "backfilled": Life(((None, 9000, 8000),), "end unknown", "#8e8e8e"),
}


COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
JUDGED: Final = ("resumed", "stalled")
"""Runs of which rules are evaluated; an alert fires for the second."""


@contextmanager
def every_life(directory: Path, now: float) -> Iterator[Prometheus]:
    """A Prometheus with all of them; ``now`` is the present, Unix s."""
    text = every_life_as_text(directory, now)
    data = directory / "data"
    created = [tool("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data)]
    subprocess.run(created, check=True, capture_output=True)
    with prometheus_on(directory / "targets.json", directory) as prometheus:
        prometheus.wait_for('last_over_time(esper_run_status{instance="running"}[1d])')
        yield prometheus


def every_life_as_text(directory: Path, now: float) -> Path:
    """The same as a file of OpenMetrics."""
    text = directory / "lives.om"
    text.write_text(_openmetrics(now), encoding="utf-8")
    return text


def began_with(seed: int) -> dict[str, str]:
    """Start of the run with a random seed: there are two configurations."""
    same = {"task": "digits", "reward_mode": "shaped", "n_envs": "4", "clip_ratio": "0.2"}
    return {**same, "seed": str(seed), "lr": ("0.001", "0.003")[seed % 2], "entropy_coef": "0.01", "gamma": "0.99"}


def _openmetrics(now: float) -> str:
    families: dict[str, list[str]] = {
        name: []
        for name in (
            *("esper_run_status", "esper_relay_last_record_timestamp_seconds", "esper_run_info", "target_info"),
            *("tolaria_current_batch", "tolaria_rolling_accuracy"),
        )
    }
    events: list[str] = ["# TYPE esper_events counter"]
    rollbacks: list[str] = ["# TYPE tolaria_rollbacks counter"]
    for seed, (name, life) in enumerate(LIVES.items()):
        run = f'job="esper",instance="{name}"'
        began = ",".join(f'{field}="{value}"' for field, value in began_with(seed).items())
        rounds = 0
        for state, since, until in life.phases:
            for step in range(int((since - until) // STEP_S) + 1):
                at = now - since + step * STEP_S
                families["esper_run_status"] += [
                    f'esper_run_status{{{run},esper_run_state="{word}"}} {int(word == state)} {at:.0f}'
                    for word in STATES
                ]
                families["esper_relay_last_record_timestamp_seconds"].append(
                    f"esper_relay_last_record_timestamp_seconds{{{run}}} {at:.0f} {at:.0f}"
                )
                rounds += 1
                at_work = f'{run},group_id="default",rank="0"'
                families["esper_run_info"].append(f'esper_run_info{{{run},group_id="default",{began}}} 1 {at:.0f}')
                families["target_info"].append(f'target_info{{{run},vcs_ref_head_revision="{COMMIT}"}} 1 {at:.0f}')
                families["tolaria_current_batch"].append(f"tolaria_current_batch{{{at_work}}} {rounds} {at:.0f}")
                accuracy = 50 + 10 * (seed % 2) + seed / 4 + rounds / 8
                families["tolaria_rolling_accuracy"].append(
                    f"tolaria_rolling_accuracy{{{at_work}}} {accuracy} {at:.0f}"
                )
                events.append(f'esper_events_total{{{at_work},event_type="TOLARIA_EPOCH_COMPLETED"}} {rounds} {at:.0f}')
                rollbacks.append(f'tolaria_rollbacks_total{{{at_work},panic_reason="nan"}} {rounds} {at:.0f}')
    families["run:esper_events:rate5m"] = [
        f'run:esper_events:rate5m{{job="esper",instance="{name}"}} 1 {now + step * STEP_S:.0f}'
        for name in JUDGED
        for step in range(-4, 241)
    ]
    alert = 'alertname="EsperRunStalled",alertstate="firing",severity="critical",job="esper",instance="stalled"'
    families["ALERTS"] = [f"ALERTS{{{alert}}} 1 {now + step * STEP_S:.0f}" for step in range(-4, 241)]
    gauges = [line for name, lines in families.items() for line in (f"# TYPE {name} gauge", *lines)]
    return "\n".join([*gauges, *events, *rollbacks, "# EOF", ""])
