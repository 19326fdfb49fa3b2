"""Runs: every run that Prometheus has, and several of them side by side."""

from __future__ import annotations

from typing import Final

from esper_otel.alerts.promql import GROUP
from grafana.layout.board import NEVER, REFRESH, Board, Row
from grafana.panels.kinds import timeseries_panel
from grafana.panels.limits import HEAD_ENTROPY
from grafana.panels.rounds import CONFIGURATION, by_round_panel, spread_panel
from grafana.panels.tables import table_panel
from grafana.queries import runs, truth
from grafana.queries.promql import Prom, state

PER_CENT: Final = "percent"
CONFIGURED: Final = {
    "task": "task",
    "reward_mode": "reward mode",
    "seed": "seed",
    "n_envs": "environments",
    "lr": "learning rate",
    "clip_ratio": "clip range",
    "entropy_coef": "entropy bonus",
    "gamma": "gamma",
}
"""Columns of what a run began with."""

OPEN: Final = (
    "/d/esper-run?var-instance=${__value.raw}&from=${__data.fields.started.numeric}&to=${__data.fields.until.text}"
    "&refresh=${__data.fields.refresh.text}"
)
"""The overview of a run in its own time; of one that is over it is not read again and again."""

_LABEL: Final = "{{instance}} · {{group_id}}"


_ROUND: Final = runs.final("tolaria.current_batch", runs.CHOSEN, "max", GROUP)


def _line(name: str) -> Prom:
    """A signal of each chosen run and arm."""
    return runs.final(name, runs.CHOSEN, "avg", GROUP)


def _smoothed(name: str) -> Prom:
    """The same at every step, smoothed."""
    return runs.smoothed(name, runs.CHOSEN, GROUP)


def _configured(expression: Prom) -> Prom:
    return runs.with_configuration(expression, runs.CHOSEN, CONFIGURATION)


def _of_run(fact: Prom) -> Prom:
    return runs.of_each_arm(fact, runs.EVERY)


_ALL = Row(
    "Which runs are there?",
    (
        table_panel(
            "runs",
            "Runs of the last 30 days",
            "Newest first, whatever time is shown. A click on a name opens the run in its own time. "
            "An A/B run has a row for each arm; state, times and alerts in it are those of the run. A run that goes on "
            "has no end. The commit is that of the working tree, changed or not.",
            ("state", _of_run(state(**runs.EVERY))),
            ("started", _of_run(runs.start(runs.EVERY))),
            ("ended", _of_run(runs.end(runs.EVERY))),
            ("length", _of_run(runs.duration(runs.EVERY))),
            ("round", runs.final("tolaria.current_batch", runs.EVERY, "max", GROUP)),
            ("best accuracy", runs.best("tolaria.val_accuracy", runs.EVERY, GROUP)),
            ("last accuracy", runs.final("tolaria.rolling_accuracy", runs.EVERY, "avg", GROUP)),
            ("best reward", runs.best("tolaria.avg_reward", runs.EVERY, GROUP)),
            ("last reward", runs.final("tolaria.avg_reward", runs.EVERY, "avg", GROUP)),
            ("lowest head entropy", runs.lowest_entropy(runs.EVERY, GROUP)),
            ("alerts fired", _of_run(runs.fired(runs.EVERY))),
            ("until", _of_run(runs.until(runs.EVERY))),
            ("refresh", _of_run(runs.lives(runs.EVERY))),
            ("_", runs.began_with(runs.EVERY)),
            ("__", _of_run(runs.commit(runs.EVERY))),
            names={"instance": "run", **CONFIGURED},
            height=14,
            sort="started",
            links={"run": OPEN},
            words={
                "group": {runs.DEFAULT_ARM: ("–", "text")},
                "state": truth.STATES,
                "until": {0: ("now", "text")},
                "refresh": {0: (NEVER, "text"), 1: (REFRESH, "text")},
            },
            hidden=("job", "until", "refresh"),
            limits={"lowest head entropy": HEAD_ENTROPY},
            units={"best accuracy": PER_CENT, "last accuracy": PER_CENT, "round": "none"},
        ),
    ),
)

_COMPARED: Final = (
    ("accuracy", "Accuracy, mean of the last rounds", "tolaria.rolling_accuracy", PER_CENT, "The best run is on top."),
    ("reward", "Mean reward of a round", "tolaria.avg_reward", "short", "Rises. Compare runs of one reward only."),
    ("entropy", "Entropy of the policy", "tamiyo.entropy", "short", "Falls slowly and does not reach 0."),
    ("kl", "KL divergence of an update", "tamiyo.kl_divergence", "short", "Small, and alike in all runs."),
)

_BY_ROUND = Row(
    "Which run is best, round by round?",
    tuple(
        by_round_panel(f"{key}_by_round", f"{title}, by round", good, _ROUND, _smoothed(name), unit=unit)
        for key, title, name, unit, good in _COMPARED
    ),
)

_SPREAD = Row(
    "Which configuration is best, over its random seeds?",
    tuple(
        spread_panel(
            f"{key}_spread",
            f"{title}, by configuration",
            f"{good} The line is the mean of the runs that differ in their random seed alone, the dashes the least and "
            "the largest of them. A configuration is named by task, reward mode, environments, learning rate, clip "
            "range, entropy bonus and gamma.",
            runs.in_steps(_configured(_ROUND)),
            _configured(_smoothed(name)),
            unit=unit,
            empty="the chosen runs did not say what they began with",
        )
        for key, title, name, unit, good in _COMPARED[:2]
    ),
)

_BY_TIME = Row(
    "Which run is best, hour by hour?",
    tuple(
        timeseries_panel(f"{key}_by_time", f"{title}, by time", good, (_LABEL, _smoothed(name)), width=12, unit=unit)
        for key, title, name, unit, good in _COMPARED
    ),
    is_open=False,
)

_ACCURACY: Final = _line("tolaria.rolling_accuracy")

_DIFFERENCES = Row(
    "How far are they apart?",
    (
        table_panel(
            "differences",
            "Runs and arms against the best",
            "The first row leads; a run with other rewards is compared by accuracy alone.",
            ("accuracy", _ACCURACY),
            ("behind the best", runs.behind(_ACCURACY)),
            ("best accuracy", runs.best("tolaria.val_accuracy", runs.CHOSEN, GROUP)),
            ("reward", _line("tolaria.avg_reward")),
            ("round", _ROUND),
            ("lowest head entropy", runs.lowest_entropy(runs.CHOSEN, GROUP)),
            ("growth", _line("simic.param_growth")),
            ("rollbacks", runs.final("tolaria.rollbacks", runs.CHOSEN, "sum", GROUP)),
            names={"instance": "run"},
            hidden=("job",),
            sort="accuracy",
            limits={"lowest head entropy": HEAD_ENTROPY},
            units={
                "accuracy": PER_CENT,
                "behind the best": PER_CENT,
                "best accuracy": PER_CENT,
                "round": "none",
                "rollbacks": "none",
            },
        ),
    ),
)

RUNS: Final = Board(
    domain="runs",
    title="Runs",
    description="Which runs are there, which is alive, which is best, how far are they apart.",
    rows=(_ALL, _BY_ROUND, _SPREAD, _DIFFERENCES, _BY_TIME),
    compares=True,
)
