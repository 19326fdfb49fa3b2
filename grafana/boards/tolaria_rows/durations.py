"""Tolaria: training time by phase."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import quantiles_panel, timeseries_panel
from grafana.queries.promql import last, mean, quantile, rate

_NO_TIMES: Final = "the log has no such times, or the phases are not timed, as without diagnostics"

WAITING: Final = (
    timeseries_panel(
        "step",
        "Time of a step",
        "Steady; a slow rise is a leak, a sudden one a stall.",
        ("step", last("tolaria.step.mean_duration")),
        width=6,
        limits=None,
        empty="the trainer reports no time of a step",
    ),
    timeseries_panel(
        "waiting",
        "Wait for data",
        "Next to nothing: an accelerator that waits for its input is idle.",
        ("share of the update", last("tamiyo.dataloader_wait_fraction")),
        ("wait in a step", last("tolaria.dataloader_wait.mean_duration")),
        second={"share of the update": "percentunit"},
        unit="s",
        width=6,
        limits=None,
        empty="no data loader was seen in this loop, so its wait was not measured",
    ),
)

_NO_STEPS: Final = "the loop names no phases, or they are not timed, as without diagnostics"
_OUTER: Final = "~train|val"
"""Phases of an epoch of the environments in which a rank works. Others are short, lie within them, or wait."""

TIME: Final = Row(
    "Where does the time go?",
    (
        timeseries_panel(
            "throughput",
            "Throughput",
            "Steady. A slow fall is a leak, a sudden one a stall.",
            ("epochs", rate("tolaria.epochs")),
            ("steps", last("tolaria.steps_rate", agg="sum")),
            unit="cps",
            empty="the log has no epochs and no throughput",
        ),
        timeseries_panel(
            "phases",
            "Time of a round's phases, mean",
            "Training takes most of it, the update and the counterfactuals little.",
            mean("tolaria.phase.duration", "phase"),
            stacked=True,
            empty=_NO_TIMES,
        ),
        timeseries_panel(
            "cpu_share",
            "Share of Python by phase",
            "Under 100 % in the phases that compute: near it, the phase waits for the interpreter.",
            last("tolaria.phase.cpu_fraction", "phase"),
            empty=_NO_TIMES,
        ),
        timeseries_panel(
            "cpu_time",
            "Processor time by phase",
            "The phases share one thread: together they stay below one second a second.",
            rate("tolaria.phase.cpu_time", "phase"),
            stacked=True,
            empty=_NO_TIMES,
        ),
        timeseries_panel(
            "passes",
            "Time of an epoch's parts, mean",
            "Forward and backward take most of it, the transfer of data next to nothing.",
            ("data transfer", mean("tolaria.data_transfer.duration")),
            ("forward", mean("tolaria.forward.duration")),
            ("backward", mean("tolaria.backward.duration")),
            ("optimizer step", mean("tolaria.optimizer_step.duration")),
            stacked=True,
            empty=_NO_TIMES,
        ),
        quantiles_panel(
            "durations",
            "Epochs and rounds",
            "Flat; the slowest epochs take little longer than the mean.",
            ("epoch mean", mean("tolaria.epoch.duration")),
            ("epoch p99", quantile(0.99, "tolaria.epoch.duration")),
            ("round mean", mean("tolaria.batch.duration")),
            empty=_NO_TIMES,
        ),
        *WAITING,
        timeseries_panel(
            "rank_work",
            "Own time of each rank",
            "All ranks alike in each phase; the phase in which they wait for each other is left out. A higher"
            " one is the rank, and the phase, that the others wait for. An epoch is that of one environment or more.",
            ("rank {{rank}} {{phase}}", mean("tolaria.step_phase.duration", "rank", "phase", phase="!backward")),
            ("rank {{rank}} {{phase}}", mean("tolaria.phase.duration", "rank", "phase", phase=_OUTER)),
            empty=_NO_STEPS,
        ),
        timeseries_panel(
            "rank_wait",
            "Time in which ranks wait for each other",
            "All ranks alike, in the backward pass or the policy's update. The slowest rank has the shortest: it is the"
            " last, and waits for nobody.",
            ("rank {{rank}} backward", mean("tolaria.step_phase.duration", "rank", phase="backward")),
            ("rank {{rank}} update", mean("tolaria.phase.duration", "rank", phase="ppo_update")),
            empty=_NO_STEPS,
        ),
    ),
)
