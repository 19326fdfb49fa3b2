"""Simic: the value of each seed, by counterfactuals and Shapley values."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import bar_gauge_panel, quantiles_panel
from grafana.panels.tables import events_table_panel, table_panel
from grafana.queries.logql import events
from grafana.queries.promql import Prom, last, mean, quantile, raw

OF_SLOT: Final = ("env_id", "slot")
NAMES: Final = {"env_id": "env"}
SURE: Final = 1.96
"""Standard errors that an estimate must be away from 0: 95 % of a normal distribution."""

_NUMBER: Final = r"[-+\d.eE]+"
_ACCURACIES: Final = (
    rf"/^(?=(?:.*:(?<together>{_NUMBER})\}}\]$)?)\[\{{[^}}]*:(?<baseline>{_NUMBER})\}}"
    rf",\{{[^}}]*:(?<first>{_NUMBER})\}}(?:,\{{[^}}]*:(?<second>{_NUMBER})\}})?/"
)
"""A matrix lists the host without seeds, with each alone, with pairs and more, and with all of them."""

_NOT_COMPUTED: Final = "counterfactuals are computed at the end of an episode that has seeds in blend"


def _beyond_error() -> Prom:
    """1 where a Shapley value differs from 0 by more than the error of its estimate, which is 0 when it is exact."""
    value, error = last("simic.shapley_value", *OF_SLOT), last("simic.shapley_std", *OF_SLOT)
    return raw(
        f"abs({value.text}) > bool {SURE} * {error.text}",
        labels=value.labels,
        signals=(*value.signals, *error.signals),
    )


ATTRIBUTION: Final = Row(
    "Which seed is worth what?",
    (
        bar_gauge_panel(
            "shapley",
            "Shapley value by slot",
            "Above 0, in percentage points of accuracy, of the last episode that was attributed.",
            ("{{env_id}}/{{slot}}", last("simic.shapley_value", *OF_SLOT)),
            height=10,
            signed=True,
            empty=_NOT_COMPUTED,
        ),
        table_panel(
            "shapley_table",
            "Shapley values and their errors",
            "Above 0 and beyond the error (1). The trainer's values are exact, with error 0; what is left is the noise "
            "of the accuracies, about 2.5 points with 300 images. Interaction is no error: it says how much a seed's "
            "worth depends on which others are on.",
            ("mean", last("simic.shapley_value", *OF_SLOT)),
            ("error", last("simic.shapley_std", *OF_SLOT)),
            ("beyond error", _beyond_error()),
            ("interaction", last("simic.shapley_interaction_spread", *OF_SLOT)),
            ("contribution now", last("kasmina.seed_contribution", *OF_SLOT)),
            units={"beyond error": "none"},
            sort="mean",
            names=NAMES,
            width=16,
            height=10,
            empty=_NOT_COMPUTED,
        ),
        quantiles_panel(
            "counterfactual_time",
            "Time of a matrix",
            "Well under the time of an epoch.",
            ("mean", mean("simic.counterfactual.duration")),
            ("p99", quantile(0.99, "simic.counterfactual.duration")),
            width=24,
            height=6,
            empty=_NOT_COMPUTED,
        ),
        events_table_panel(
            "counterfactuals",
            "Counterfactual matrices, newest first",
            "Together, the seeds beat the baseline by at least the sum of what each adds alone; less is interference.",
            events("COUNTERFACTUAL_MATRIX_COMPUTED", by_env=True),
            {
                "esper_group_id": "group",
                "simic_env_id": "env",
                "simic_episode_idx": "episode",
                "simic_slot_ids": "slots",
                "baseline": "baseline",
                "first": "first alone",
                "second": "second alone",
                "together": "together",
                "simic_strategy": "strategy",
                "simic_compute_time_ms": "ms",
                "trace_id": "trace",
                "simic_configs": "all combinations",
            },
            parts=("simic_configs", _ACCURACIES),
            empty=_NOT_COMPUTED,
        ),
    ),
)
