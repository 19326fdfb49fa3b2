"""Tolaria: where the time of training goes."""

from __future__ import annotations

from typing import Final

from grafana.board import Row
from grafana.panel_kinds import quantiles_panel, timeseries_panel
from grafana.promql import last, mean, quantile, rate

_NO_TIMES: Final = "esper-lite's log has no such times, and without diagnostics no phases are timed."

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
            empty="A log without epochs and throughput.",
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
            "Flat; the slowest epochs take little longer than the median.",
            ("epoch p50", quantile(0.5, "tolaria.epoch.duration")),
            ("epoch p99", quantile(0.99, "tolaria.epoch.duration")),
            ("round p50", quantile(0.5, "tolaria.batch.duration")),
            empty=_NO_TIMES,
        ),
        timeseries_panel(
            "waiting",
            "Waiting for data",
            "Next to nothing: an accelerator that waits for its input is idle.",
            ("share of the update", last("tamiyo.dataloader_wait_fraction")),
            ("wait in a step", last("tolaria.dataloader_wait.mean_duration")),
            ("step", last("tolaria.step.mean_duration")),
            second={"share of the update": "percentunit"},
            unit="s",
            limits=None,
            empty="The trainer reports no waiting.",
        ),
    ),
)
