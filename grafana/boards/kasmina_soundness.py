"""Kasmina: are the seeds sound, and do they differ."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import stat_panel, timeseries_panel
from grafana.queries.promql import last, of_seeds, total

_LEGEND: Final = "{{env_id}}/{{slot}}"
_NO_SEEDS: Final = "no seed is alive, or the log has no gradients of seeds"

SOUNDNESS: Final = Row(
    "Are the seeds sound, and do they differ?",
    (
        timeseries_panel(
            "contribution",
            "Contribution by slot",
            "Above 0: the host is better with the seed than without it. Those below should be pruned.",
            (_LEGEND, of_seeds("kasmina.seed_contribution")),
            empty="contributions are measured of seeds that blend, and esper-lite's log has none",
        ),
        timeseries_panel(
            "gradients",
            "Gradient norm by slot",
            "Within a factor of ten of each other.",
            (_LEGEND, of_seeds("kasmina.seed_grad_norm")),
            log_above=1e-6,
            empty=_NO_SEEDS,
        ),
        timeseries_panel(
            "trouble",
            "Seeds with gradient trouble",
            "0. Vanishing gradients mean a seed that does not learn; exploding ones break its host.",
            ("vanishing", last("kasmina.seed_vanishing", agg="sum")),
            ("exploding", last("kasmina.seed_exploding", agg="sum")),
            ("worst health", last("kasmina.seed_gradient_health", agg="min")),
            second={"worst health": "percentunit"},
            unit="none",
            empty=_NO_SEEDS,
        ),
        timeseries_panel(
            "stuck",
            "Longest time in a stage, in epochs",
            "Falls back repeatedly: no seed stays in a stage for good.",
            ("longest", last("kasmina.seed_epochs_in_stage", agg="max")),
            ("mean", last("kasmina.seed_epochs_in_stage")),
            unit="none",
            empty=_NO_SEEDS,
        ),
        timeseries_panel(
            "interaction",
            "Interaction of the seeds",
            "Above 0: together they are worth more than apart.",
            ("best", last("kasmina.seed_interaction", agg="max")),
            ("worst", last("kasmina.seed_interaction", agg="min")),
            ("strongest boost", last("kasmina.seed_boost", agg="max")),
            ("slowest velocity", last("kasmina.seed_contribution_velocity", agg="min")),
            limits=None,
            unit="short",
            empty="interactions need two seeds that blend in one host, and esper-lite's log has none",
        ),
        timeseries_panel(
            "diversity",
            "Diversity",
            "Entropy near 1 and similarity near 0: the seeds are different and do different things.",
            ("entropy of blueprints", last("kasmina.blueprint_entropy")),
            ("similarity of outputs", last("kasmina.output_similarity")),
            ("live seeds", last("kasmina.active_seeds")),
            ("different blueprints", last("kasmina.distinct_blueprints")),
            second={"(live seeds|different blueprints)": "short"},
            unit="percentunit",
            limits=None,
            empty="esper-lite's log has no diversity.",
        ),
    ),
)

GROWN: Final = Row(
    "How much did the hosts grow?",
    (
        stat_panel(
            "grown_parameters",
            "Parameters of seeds, since the run began",
            "A part of what germinates is kept for good.",
            ("germinated", total("kasmina.germinated_params")),
            ("kept for good", total("kasmina.fossilized_params")),
            width=12,
            unit="short",
            empty=_NO_SEEDS,
        ),
        timeseries_panel(
            "kept_improvement",
            "Improvement of the seed that was kept last",
            "Above 0: the seed was worth its parameters.",
            ("percentage points", last("kasmina.fossilized_improvement")),
            width=12,
            empty="no seed was kept for good",
        ),
    ),
    is_open=False,
)
