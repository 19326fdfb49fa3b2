"""Simic: rewards, ends of episodes, contributions, groups, suspicious behaviour."""

from __future__ import annotations

from typing import Final

from grafana.boards.simic_attribution import ATTRIBUTION
from grafana.boards.simic_groups import DETECTIONS, GROUPS, TOTALS
from grafana.layout.board import Board, Row
from grafana.panels.kinds import bar_gauge_panel, timeseries_panel
from grafana.panels.tables import events_table_panel, table_panel
from grafana.queries.logql import events
from grafana.queries.promql import Prom, averaged, divided, last, only_where, raw, select
from grafana.queries.truth import value

OF_ENV: Final = ("env_id",)
PER_CENT: Final = "percent"
_NO_REWARDS: Final = "the log has no reward by step"


def _size(selector: str, name: str) -> Prom:
    return raw(f"sum by (group_id) (abs({value(selector)}))", labels=("group_id",), signals=(name,))


def _pbrs_share() -> Prom:
    """Size of the shaping addends over the size of the reward."""
    shaping = select("simic.reward_component", component="~stage_bonus|pbrs_bonus")
    return divided(_size(shaping, "simic.reward_component"), _size(select("simic.step_reward"), "simic.step_reward"))


def _share_with(component: str) -> Prom:
    """Share of the environments whose newest step has a penalty other than 0."""
    text = f"avg by (group_id) ({value(select('simic.reward_component', component=component))} != bool 0)"
    return raw(text, labels=("group_id",), unit="percentunit", signals=("simic.reward_component",))


def _not_zero(expression: Prom) -> Prom:
    return only_where(expression, "!= 0")


_REWARDS = Row(
    "What is rewarded?",
    (
        timeseries_panel(
            "components",
            "Addends of the reward of a step, mean of the environments",
            "Attribution carries the reward; rents and penalties stay small against it.",
            _not_zero(last("simic.reward_component", "component")),
            width=14,
            height=11,
            empty=_NO_REWARDS,
        ),
        bar_gauge_panel(
            "waterfall",
            "From addends to the reward",
            "What is earned outweighs rents and penalties; the first bar is their sum. A sample at each scrape, over "
            "the whole run. The table below has the exact sums.",
            ("= reward", averaged("simic.step_reward")),
            ("{{component}}", _not_zero(averaged("simic.reward_component", "component"))),
            width=10,
            height=11,
            signed=True,
            empty=_NO_REWARDS,
        ),
        timeseries_panel(
            "episode_reward",
            "Reward of episodes by environment",
            "Rises; no environment stays below 0.",
            last("simic.episode_reward", *OF_ENV),
            empty="no episode has ended yet",
        ),
        timeseries_panel(
            "pbrs_share",
            "Shaping in the reward",
            "Potential-based shaping is a tenth to four tenths of the reward: it guides and does not dominate.",
            ("potential-based", _pbrs_share()),
            ("all shaping", last("simic.shaped_reward_fraction")),
            limits=None,
            unit="percentunit",
            empty=_NO_REWARDS,
        ),
        timeseries_panel(
            "penalties",
            "Steps with a penalty",
            "The parameter budget is seldom exceeded: esper-lite calls more than 5 % of penalised steps gaming. "
            "Blending always costs some shock, so compare runs there.",
            ("over the parameter budget", _share_with("ratio_penalty")),
            ("shock of blending", _share_with("alpha_shock")),
            empty=_NO_REWARDS,
        ),
        events_table_panel(
            "sums",
            "Sums of the addends by round",
            "The exact sums over all steps of a round. Attribution and the terminal bonus carry the reward.",
            events("SIMIC_REWARD_SUMMARY"),
            {
                "esper_group_id": "group",
                "simic_batch": "round",
                "simic_summary_bounded_attribution": "attribution",
                "simic_summary_terminal_bonus": "terminal",
                "simic_summary_fossilize_terminal_bonus": "fossilized",
                "simic_summary_stage_bonus": "stage",
                "simic_summary_pbrs_bonus": "potential",
                "simic_summary_hindsight_credit": "hindsight",
                "simic_summary_action_shaping": "action",
                "simic_summary_compute_rent": "compute rent",
                "simic_summary_occupancy_rent": "occupancy rent",
                "simic_summary_fossilized_rent": "fossilized rent",
                "simic_summary_alpha_shock": "shock",
                "simic_summary_ratio_penalty": "budget penalty",
                "simic_summary_blending_warning": "blending warning",
                "simic_summary_holding_warning": "holding warning",
                "trace_id": "trace",
            },
            height=7,
            empty="no round has ended in this time",
        ),
    ),
)

_OUTCOMES = Row(
    "How do episodes end, and does reward mean accuracy?",
    (
        timeseries_panel(
            "calibration",
            "Reward against accuracy",
            "The two move together: a reward that rises while accuracy falls rewards the wrong thing.",
            ("accuracy", last("simic.final_accuracy")),
            ("reward", last("simic.episode_reward")),
            second={"reward": "short"},
            unit=PER_CENT,
            limits=None,
            width=24,
            empty="no episode has ended yet",
        ),
        table_panel(
            "outcomes",
            "Last episode by environment",
            "High accuracy for little growth, and fossilized seeds that contribute.",
            ("accuracy", last("simic.final_accuracy", *OF_ENV)),
            ("reward", last("simic.episode_reward", *OF_ENV)),
            ("growth", last("simic.param_growth", *OF_ENV)),
            ("fossilized", last("simic.fossilized_seeds", *OF_ENV)),
            ("contributing", last("simic.contributing_fossilized_seeds", *OF_ENV)),
            ("germinated", last("simic.episode_germinations", *OF_ENV)),
            ("pruned", last("simic.episode_prunes", *OF_ENV)),
            ("fossilize actions", last("simic.episode_fossilizations", *OF_ENV)),
            ("stability", last("simic.stability_score", *OF_ENV)),
            ("epochs", last("simic.episode_length", *OF_ENV)),
            ("last accuracy change", last("simic.accuracy_delta", *OF_ENV)),
            ("last reward", last("simic.step_reward", *OF_ENV)),
            names={"env_id": "env"},
            height=6,
            sort="reward",
            units={
                "accuracy": PER_CENT,
                "fossilized": "none",
                "contributing": "none",
                "germinated": "none",
                "pruned": "none",
                "fossilize actions": "none",
                "epochs": "none",
            },
            empty="no episode has ended yet",
        ),
    ),
)

SIMIC: Final = Board(
    domain="simic",
    title="Simic: rewards and attribution",
    description="What is rewarded, how do episodes end, which seeds contributed, do groups differ, does anybody cheat.",
    rows=(_REWARDS, _OUTCOMES, ATTRIBUTION, GROUPS, DETECTIONS, TOTALS),
)
