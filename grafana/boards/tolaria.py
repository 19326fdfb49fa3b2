"""Tolaria: progress of the hosts, best environments, time by phase, actions of the governor."""

from __future__ import annotations

from typing import Final

from grafana.boards.tolaria_rows.durations import TIME
from grafana.boards.tolaria_rows.soundness import LAYERS, SOUNDNESS
from grafana.boards.tolaria_rows.updates import UPDATES
from grafana.layout.board import Board, Row
from grafana.panels.kinds import stat_panel, timeseries_panel
from grafana.panels.states import state_timeline_panel
from grafana.panels.tables import table_panel
from grafana.queries.promql import age, larger, last, minus, over_arms, peak, raw, select, total
from grafana.queries.truth import value

OF_ENV: Final = ("env_id",)
PER_CENT: Final = "percent"
"""Accuracies are 0 to 100, which the registry has no unit for."""

_KASMINA: Final = "/d/esper-kasmina?var-instance=${instance}&var-env_id=${__value.raw}&${__url_time_range}"

_LEARNING = Row(
    "Do the hosts learn?",
    (
        timeseries_panel(
            "accuracy",
            "Validation accuracy by environment",
            "A saw-tooth: each episode begins with a fresh host and climbs; the peaks get higher. "
            "With many environments choose some above.",
            last("tolaria.val_accuracy", *OF_ENV),
            width=12,
            unit=PER_CENT,
        ),
        timeseries_panel(
            "loss",
            "Validation loss by environment",
            "Falls within each episode; a jump or a gap is a host that diverged.",
            last("tolaria.val_loss", *OF_ENV),
            width=12,
            log_above=1e-3,
        ),
        timeseries_panel(
            "generalisation",
            "Training against validation",
            "The two lie close together; training far above validation is overfitting.",
            ("training", last("tolaria.train_accuracy")),
            ("validation", last("tolaria.val_accuracy")),
            unit=PER_CENT,
        ),
        timeseries_panel(
            "rounds",
            "Accuracy at the end of a round",
            "Rises and levels off.",
            ("this round", last("tolaria.avg_accuracy")),
            ("last 10 rounds", last("tolaria.rolling_accuracy")),
            unit=PER_CENT,
        ),
        timeseries_panel(
            "trends",
            "Trends since the run began",
            "Improvements outnumber plateaus and falls.",
            ("improvements", total("simic.improvements")),
            ("plateaus", total("simic.plateaus")),
            ("falls", total("simic.degradations")),
        ),
    ),
)

_RECENT: Final = "1h"


def _status() -> str:
    """By environment: 4 when no epoch came for a minute, 2 when the last episode was bad, 1 when it was excellent."""
    by = "by (env_id, group_id)"
    final, newest = select("simic.final_accuracy"), select("tolaria.last_epoch.timestamp")
    running = f"scalar(max({value(select('esper.run.status', esper_run_state='running'))}))"
    # Against the newest event: the times of a log that is read later are not of today.
    heard = f"scalar(max({value(select('esper.relay.last_record.timestamp'))}))"
    silent = f"4 * {running} * ({heard} - max {by} ({value(newest)}) > bool 60)"
    degraded = f"2 * (max {by} ({value(final)}) < bool 0.9 * max {by} (avg_over_time({final}[{_RECENT}])))"
    return f"{silent} + {degraded} + (max {by} ({value(final)}) > bool 80)"


_ENVIRONMENTS = Row(
    "Which environments are best and worst?",
    (
        table_panel(
            "environments",
            "Environments",
            "All are near the best; a last episode far from the best one is a bad trajectory. Sort by any column; a "
            "click on an environment shows its seeds.",
            ("accuracy", last("tolaria.val_accuracy", *OF_ENV)),
            ("peak", larger(peak("tolaria.val_accuracy", *OF_ENV), peak("simic.final_accuracy", *OF_ENV))),
            ("from best episode", minus(last("simic.final_accuracy", *OF_ENV), peak("simic.final_accuracy", *OF_ENV))),
            ("last episode", last("simic.final_accuracy", *OF_ENV)),
            ("loss", last("tolaria.val_loss", *OF_ENV)),
            ("train loss", last("tolaria.train_loss", *OF_ENV)),
            ("episode", last("tolaria.current_episode", *OF_ENV)),
            ("epoch", last("tolaria.inner_epoch", *OF_ENV)),
            ("parameters", last("tolaria.model_params", *OF_ENV)),
            ("growth", last("simic.param_growth", *OF_ENV)),
            ("gradient norm", last("tolaria.host_grad_norm_pre_clip", *OF_ENV)),
            ("lr", last("tolaria.host_lr", *OF_ENV)),
            sort="accuracy",
            height=7,
            names={"env_id": "env"},
            links={"env": _KASMINA},
            units={
                "accuracy": PER_CENT,
                "peak": PER_CENT,
                "last episode": PER_CENT,
                "episode": "none",
                "epoch": "none",
                "parameters": "none",
                "from best episode": PER_CENT,
            },
        ),
        state_timeline_panel(
            "status",
            "Status by environment",
            "Learning or excellent (the last episode ended above 80 %). Degraded: it ended more than a tenth below the "
            f"mean of the last {_RECENT}. Silent: no epoch for a minute while others of the run report.",
            (
                "{{env_id}}",
                raw(
                    _status(),
                    labels=("env_id", "group_id"),
                    signals=(
                        *("simic.final_accuracy", "tolaria.last_epoch.timestamp"),
                        *("esper.run.status", "esper.relay.last_record.timestamp"),
                    ),
                ),
            ),
            states={
                0: ("learning", "blue"),
                1: ("excellent", "green"),
                2: ("degraded", "orange"),
                3: ("degraded", "orange"),
                **dict.fromkeys(range(4, 8), ("silent", "red")),
            },
            lanes=16,
        ),
        stat_panel(
            "position",
            "Where it is",
            "Advances; the latest epoch is seconds old while the run trains.",
            ("episodes done", over_arms("max", last("tolaria.episodes_completed", agg="max"))),
            ("planned", over_arms("max", last("tolaria.episodes_planned", agg="max"))),
            ("round", over_arms("max", last("tolaria.current_batch", agg="max"))),
            ("environments", over_arms("max", last("tolaria.batch_envs", agg="sum"))),
            width=8,
            height=8,
            unit="none",
        ),
        stat_panel(
            "age",
            "Last epoch",
            "Seconds while the run trains; it grows after the end.",
            ("last epoch", age("tolaria.last_epoch.timestamp")),
            decimals=0,
            height=8,
        ),
    ),
)

TOLARIA: Final = Board(
    domain="tolaria",
    title="Tolaria: host training",
    description="Do the hosts learn, which environments are best and worst, where does the time go, is training sound.",
    rows=(_LEARNING, _ENVIRONMENTS, TIME, SOUNDNESS, UPDATES, LAYERS),
)
