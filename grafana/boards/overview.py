"""Run overview: configuration, progress, health in one line, anomalies, alerts, best and worst environments."""

from __future__ import annotations

from typing import Final

import msgspec

from grafana.boards.firing import firing_panel
from grafana.boards.overview_details import CONFIGURATION, EVENTS
from grafana.layout.board import AlertPanels, Board, Row
from grafana.panels.kinds import ANY_IS_BAD, SELDOM, stat_panel, timeseries_panel
from grafana.panels.limits import HEAD_ENTROPY
from grafana.panels.states import state_panel, words_panel
from grafana.panels.tables import events_table_panel, table_panel
from grafana.queries.logql import events
from grafana.queries.promql import age, counted, divided, head_entropy, last, minus, peak, rate, raw, total

OF_ENV: Final = ("env_id",)

VERDICTS: Final[dict[int, tuple[str, str]]] = {
    0: ("no alert fires", "green"),
    1: ("notes only: read the alerts below", "blue"),
    2: ("warnings: look at the panels that the alerts below name", "orange"),
    3: ("critical: act on the alerts below, the critical ones first", "red"),
}
_SEVERITIES: Final = ("info", "warning", "critical")
_OF_RUN: Final = 'job=~"$job", instance=~"$instance"'
_WORST: Final = raw(
    "max("
    + " or ".join(
        f'{number} * ALERTS{{alertstate="firing", severity="{severity}", {_OF_RUN}}}'
        for number, severity in enumerate(_SEVERITIES, 1)
    )
    # Recorded by the same Prometheus while it scrapes the run: without it nobody looked.
    + f") or 0 * max(run:esper_events:rate5m{{{_OF_RUN}}})",
)

_STATE = Row(
    "Is the run alive and sound?",
    (
        state_panel(
            "state",
            "State",
            "running, or finished when it is over; stalled, failed, died and vanished page a person.",
        ),
        stat_panel(
            "last_event",
            "Age of the last event",
            "A few seconds while training. It goes on growing when the run is over, killed or cut off.",
            ("last event", age("esper.relay.last_record.timestamp")),
        ),
        stat_panel(
            "progress",
            "Progress",
            "Grows to 100 %.",
            (
                "episodes done",
                divided(last("tolaria.episodes_completed", agg="max"), last("tolaria.episodes_planned", agg="max")),
            ),
        ),
        stat_panel(
            "position",
            "Where it is",
            "Round, episode and epoch move on.",
            ("round", last("tolaria.current_batch", agg="max")),
            ("episode", last("tolaria.current_episode", agg="max")),
            ("epoch", last("tolaria.inner_epoch", agg="max")),
            width=6,
            unit="none",
        ),
        stat_panel(
            "throughput",
            "Throughput",
            "Steady; a slow fall is a leak, a sudden one a stall.",
            ("events", rate("esper.events")),
            ("epochs", rate("tolaria.epochs")),
            ("updates", rate("tamiyo.updates")),
            width=6,
            decimals=1,
        ),
        words_panel(
            "judgement",
            "Verdict",
            "No alert fires. It is the worst alert that fires; the alerts below say what to look at.",
            _WORST,
            VERDICTS,
            missing_word="no verdict: the run is over, or no rules are evaluated",
            width=24,
            height=3,
        ),
        stat_panel(
            "anomalies",
            "Anomalies since the run began",
            "Every number is 0. A red one is never seen in good runs, a yellow one now and then. Each has an alert, a"
            " row in the event log and a round with an error status.",
            ("NaN or Inf updates", counted("tamiyo.nonfinite_updates")),
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
            height=5,
            limits=ANY_IS_BAD,
            unit="none",
            horizontal=True,
            each=dict.fromkeys(("ratio explosions", "gradient anomalies", "degradations", "reward hacking"), SELDOM),
        ),
        stat_panel(
            "verdict",
            "Policy in numbers",
            "No number is coloured: the policy still chooses, its updates are no larger than those of good runs.",
            ("mean reward", last("tolaria.avg_reward")),
            ("median return", last("tamiyo.return_p50")),
            ("value correlation", last("tamiyo.value_target_correlation")),
            ("value NRMSE", last("tamiyo.value_nrmse")),
            ("KL", last("tamiyo.kl_divergence")),
            ("clip fraction", last("tamiyo.clip_fraction")),
            ("lowest head entropy", head_entropy()),
            ("determinism", last("tamiyo.policy_determinism")),
            ("decision density", last("tamiyo.decision_density")),
            ("Q variance", last("tamiyo.q_variance")),
            ("inputs clipped", last("tamiyo.observation.clip_fraction")),
            width=24,
            unit="short",
            decimals=3,
            horizontal=True,
            each={"lowest head entropy": HEAD_ENTROPY},
            zero_is_grey=("KL", "clip fraction"),  # of one pass over a rollout as of a policy that has collapsed
        ),
    ),
)

_LEARNING = Row(
    "Does it learn?",
    (
        timeseries_panel(
            "accuracy",
            "Accuracy of the hosts",
            "Rises and levels off; the rolling mean does not fall.",
            ("mean of the environments", last("tolaria.val_accuracy")),
            ("best environment", last("tolaria.val_accuracy", agg="max")),
            ("worst environment", last("tolaria.val_accuracy", agg="min")),
            ("rolling mean", last("tolaria.rolling_accuracy")),
        ),
        timeseries_panel(
            "reward",
            "Reward of the episodes",
            "Rises; best and worst stay close.",
            ("mean of the round", last("tolaria.avg_reward")),
            ("best episode", last("simic.episode_reward", agg="max")),
            ("worst episode", last("simic.episode_reward", agg="min")),
        ),
        timeseries_panel(
            "trends",
            "Trends that were detected",
            "Improvements outnumber plateaus and degradations.",
            ("improvements", total("simic.improvements")),
            ("plateaus", total("simic.plateaus")),
            ("degradations", total("simic.degradations")),
        ),
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
            height=6,
            sort="accuracy",
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
                "trace_id": "round",
            },
            height=8,
        ),
    ),
)


def overview(panels: AlertPanels) -> Board:
    """The board, with a link from every alert to its panel on another board."""
    state = msgspec.structs.replace(_STATE, panels=(*_STATE.panels, firing_panel(panels)))
    return Board(
        domain="run",
        title="Run overview",
        description="Is the run alive, does it learn, what was run, what happened.",
        rows=(state, _LEARNING, CONFIGURATION, EVENTS),
        has_event_log=True,
    )
