"""Run overview: configuration, progress, health in one line, anomalies, alerts, best and worst environments."""

from __future__ import annotations

from typing import Final

import msgspec

from grafana.boards.firing import firing_panel
from grafana.boards.overview_details import CONFIGURATION, EVENTS
from grafana.layout.board import AlertPanels, Board, Row
from grafana.panels.kinds import ANY_IS_BAD, SELDOM, stat_panel, timeseries_panel
from grafana.panels.limits import HEAD_ENTROPY
from grafana.panels.panel import GREY, setting
from grafana.panels.states import ended_panel, state_panel, words_panel
from grafana.panels.tables import events_table_panel, table_panel
from grafana.queries.logql import events
from grafana.queries.promql import (
    age,
    counted,
    divided,
    head_entropy,
    last,
    minus,
    over_arms,
    peak,
    rate,
    raw,
    total,
)

OF_ENV: Final = ("env_id",)
PER_CENT: Final = "percent"

VERDICTS: Final[dict[int, tuple[str, str]]] = {
    0: ("no alert fires", "green"),
    1: ("notes only: read the alerts below", "blue"),
    2: ("warnings: look at the panels that the alerts below name", "orange"),
    3: ("critical: act on the alerts below, the critical ones first", "red"),
}
_SEVERITIES: Final = ("info", "warning", "critical")
_OF_RUN: Final = 'job=~"$job", instance=~"$instance"'
_ALERTS: Final = " or ".join(
    f'{number} * ALERTS{{alertstate="firing", severity="{severity}", {_OF_RUN}}}'
    for number, severity in enumerate(_SEVERITIES, 1)
)
_WORST: Final = raw(
    f"max({_ALERTS}"
    # Recorded by the same Prometheus while it scrapes the run: without it nobody looked.
    f") or 0 * max(run:esper_events:rate5m{{{_OF_RUN}}})",
)

_EPISODES: Final = last("tolaria.episodes_completed", agg="max")
_PLANNED: Final = last("tolaria.episodes_planned", agg="max")

_OTHER_LOOP: Final = "a training loop that is not Esper has none; its loss is on the dashboard Training loop"

_ACCURACY: Final = timeseries_panel(
    "accuracy",
    "Accuracy of the hosts",
    "Mean, best and worst of the environments. It rises and levels off; the mean of the last rounds does not fall.",
    ("mean", last("tolaria.val_accuracy")),
    ("best", last("tolaria.val_accuracy", agg="max")),
    ("worst", last("tolaria.val_accuracy", agg="min")),
    ("last rounds", last("tolaria.rolling_accuracy")),
    unit=PER_CENT,
    empty=_OTHER_LOOP,
)
_ACCURACY.builder.override_by_regexp(
    "^last rounds( · .*)?$", [setting("custom.lineWidth", 3)]
)  # the line that compares arms

_STATE = Row(
    "Is the run alive, and does it learn?",
    (
        state_panel(
            "state",
            "State",
            "running, or finished when it is over; stalled, failed, died and vanished page a person.",
            width=3,
            height=3,
        ),
        stat_panel(
            "last_event",
            "Last event",
            "A few seconds while training. It goes on growing when the run is over, killed or cut off.",
            ("age", age("esper.relay.last_record.timestamp")),
            height=3,
        ),
        ended_panel(height=3),
        stat_panel(
            "progress",
            "Progress",
            "Grows to 100 %.",
            ("episodes done", divided(over_arms("sum", _EPISODES), over_arms("sum", _PLANNED))),
            height=3,
        ),
        words_panel(
            "judgement",
            "Verdict",
            "No alert fires. It is the worst alert that fires; the alerts below say what to look at.",
            _WORST,
            VERDICTS,
            missing_word="no verdict: the run is over, or no rules are evaluated",
            width=10,
            height=3,
        ),
        _ACCURACY,
        timeseries_panel(
            "reward",
            "Reward of the episodes",
            "Rises; best and worst stay close.",
            ("mean", last("tolaria.avg_reward")),
            ("best", last("simic.episode_reward", agg="max")),
            ("worst", last("simic.episode_reward", agg="min")),
            empty=_OTHER_LOOP,
        ),
        timeseries_panel(
            "entropy",
            "Entropy of the policy's heads",
            "Falls slowly. At 0 a head always chooses the same, and nothing more is learnt.",
            ("lowest head", head_entropy()),
            limits=HEAD_ENTROPY,
            between=(0, 1),
            empty=_OTHER_LOOP,
        ),
    ),
)

_SOUND = Row(
    "What is wrong?",
    (
        stat_panel(
            "anomalies",
            "Anomalies since the run began",
            "Every number is 0. A red one is never seen in good runs, an orange one now and then. Each has an alert, a"
            " row in the event log and a round with an error status.",
            ("not finite", counted("tamiyo.nonfinite_updates")),
            ("gradient explosions", counted("tamiyo.grad_norm_violations", severity="critical")),
            ("instabilities", counted("simic.numerical_instabilities")),
            ("skipped updates", counted("tamiyo.skipped_updates")),
            ("ratio explosions", counted("simic.ratio_explosions")),
            ("value collapses", counted("simic.value_collapses")),
            ("gradient anomalies", counted("simic.gradient_anomalies")),
            ("rollbacks", counted("tolaria.rollbacks")),
            ("degradations", counted("simic.performance_degradations")),
            ("reward hacking", counted("simic.reward_hacking_suspicions")),
            ("memory warnings", counted("simic.memory_warnings")),
            ("lost events", counted("esper.log.lost_events")),
            width=24,
            height=4,
            limits=ANY_IS_BAD,
            unit="none",
            horizontal=True,
            each=dict.fromkeys(
                ("instabilities", "ratio explosions", "gradient anomalies", "degradations", "reward hacking"), SELDOM
            ),
        ),
        table_panel(
            "verdict",
            "Policy in numbers",
            "No number is orange or red: the policy still chooses, its updates are no larger than those of good runs. "
            "A KL divergence or clip fraction of 0 is grey: it is that of one pass over a rollout as of a dead policy.",
            ("mean reward", last("tolaria.avg_reward")),
            ("median return", last("tamiyo.return_p50")),
            ("value correlation", last("tamiyo.value_target_correlation")),
            ("value NRMSE", last("tamiyo.value_nrmse")),
            ("KL", last("tamiyo.kl_divergence")),
            ("clip fraction", last("tamiyo.clip_fraction")),
            ("lowest head entropy", head_entropy()),
            ("decision density", last("tamiyo.decision_density")),
            ("inputs clipped", last("tamiyo.observation.clip_fraction")),
            height=6,
            decimals=3,
            limits={"lowest head entropy": HEAD_ENTROPY},
            units=dict.fromkeys(
                ("lowest head entropy", "clip fraction", "decision density", "inputs clipped"), "short"
            ),
            words={"KL": {0: ("0", GREY)}, "clip fraction": {0: ("0", GREY)}},
            empty="the run has no policy, or it was not updated yet",
        ),
    ),
)

_LEARNING = Row(
    "Where does it learn?",
    (
        table_panel(
            "environments",
            "Environments, best and worst",
            "All are near the best; a large fall from the peak is a bad trajectory. Sort by any column.",
            ("accuracy", last("tolaria.val_accuracy", *OF_ENV)),
            ("peak", peak("tolaria.val_accuracy", *OF_ENV)),
            ("from peak", minus(last("tolaria.val_accuracy", *OF_ENV), peak("tolaria.val_accuracy", *OF_ENV))),
            ("loss", last("tolaria.val_loss", *OF_ENV)),
            ("episode reward", last("simic.episode_reward", *OF_ENV)),
            ("growth", last("simic.param_growth", *OF_ENV)),
            ("fossilized", last("simic.fossilized_seeds", *OF_ENV)),
            ("stability", last("simic.stability_score", *OF_ENV)),
            height=9,
            sort="accuracy",
            units={**dict.fromkeys(("accuracy", "peak", "from peak"), PER_CENT), "fossilized": "none"},
        ),
        timeseries_panel(
            "trends",
            "Trends that were detected",
            "Improvements outnumber plateaus and falls.",
            ("improvements", total("simic.improvements")),
            ("plateaus", total("simic.plateaus")),
            ("falls", total("simic.degradations")),
            width=12,
            height=6,
        ),
        stat_panel(
            "position",
            "Where it is",
            "Round, episode and epoch move on; of an A/B run, those of the arm that is ahead.",
            ("round", over_arms("max", last("tolaria.current_batch", agg="max"))),
            ("episode", over_arms("max", last("tolaria.current_episode", agg="max"))),
            ("epoch", over_arms("max", last("tolaria.inner_epoch", agg="max"))),
            width=6,
            unit="none",
            height=6,
            horizontal=True,
        ),
        stat_panel(
            "throughput",
            "Throughput",
            "Steady; a slow fall is a leak, a sudden one a stall.",
            ("events", over_arms("sum", rate("esper.events"))),
            ("epochs", over_arms("sum", rate("tolaria.epochs"))),
            ("updates", over_arms("sum", rate("tamiyo.updates"))),
            width=6,
            decimals=2,
            height=6,
            horizontal=True,
        ),
        events_table_panel(
            "leaderboard",
            "Leaderboard of episodes",
            "New episodes enter at the top. Sort by accuracy or reward for the best and the worst.",
            events("EPISODE_OUTCOME", by_env=True),
            {
                "simic_final_accuracy": "accuracy",
                "simic_episode_reward": "reward",
                "simic_param_ratio": "growth",
                "simic_num_fossilized": "fossilized",
                "simic_stability_score": "stability",
                "simic_outcome_type": "end",
                "simic_env_id": "environment",
                "simic_episode_idx": "episode",
                "trace_id": "trace",
            },
            height=8,
        ),
    ),
)


def overview(panels: AlertPanels) -> Board:
    """The board, with a link from every alert to its panel on another board."""
    sound = msgspec.structs.replace(_SOUND, panels=(firing_panel(panels), *_SOUND.panels))
    return Board(
        domain="run",
        title="Run overview",
        description="Is the run alive, does it learn, what was run, what happened.",
        rows=(_STATE, sound, _LEARNING, CONFIGURATION, EVENTS),
        has_event_log=True,
    )
