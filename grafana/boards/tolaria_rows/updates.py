"""Tolaria: the updates of any training loop, by model."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import ANY_IS_BAD, quantiles_panel, stat_panel, timeseries_panel
from grafana.queries.promql import at_most, counted, highest, last, mean, quantile, total

_NO_UPDATES: Final = "no loop is watched by esper_otel.autolog() or a TrainingMonitor in this run"
_OF_MODEL: Final = ("model",)
_PEAK: Final = highest("tolaria.update.max_pre_clip_grad_norm")

UPDATES: Final = Row(
    "Does a training loop update soundly?",
    (
        stat_panel(
            "update_trouble",
            "Updates that went wrong",
            "Every number is 0: no gradient exploded, no norm and no loss was NaN or infinite.",
            ("exploded", counted("tolaria.update.grad_norm_violations", severity="critical")),
            ("bad norms", counted("tolaria.nonfinite_updates")),
            ("bad losses", counted("tolaria.nonfinite_losses")),
            width=8,
            limits=ANY_IS_BAD,
            unit="none",
            horizontal=True,
            empty="no sensor looks at the updates of the loop",
        ),
        stat_panel(
            "update_position",
            "Where the loop is",
            "Advances while the run trains.",
            ("updates", last("tolaria.update.number", agg="max")),
            ("norm before clipping", last("tolaria.update.last_pre_clip_grad_norm", agg="max")),
            width=8,
            unit="short",
            empty=_NO_UPDATES,
        ),
        quantiles_panel(
            "update_norm",
            "Gradient norm before and after",
            "Flat, within a factor of ten; after clipping never above the limit of the loop.",
            ("before, peak", _PEAK),
            ("before, p99", at_most(quantile(0.99, "tolaria.update.pre_clip_grad_norm"), _PEAK)),
            ("before, mean", mean("tolaria.update.pre_clip_grad_norm")),
            ("after", last("tolaria.update.grad_norm", agg="max")),
            limits=None,
            empty=_NO_UPDATES,
        ),
        timeseries_panel(
            "update_loss",
            "Loss by model",
            "Falls, with noise; a gap is a loss that was not finite.",
            ("{{model}}", last("tolaria.update.loss", *_OF_MODEL)),
            limits=None,
            empty=_NO_UPDATES,
        ),
        timeseries_panel(
            "update_lr",
            "Learning rate by model",
            "Follows the schedule that was chosen.",
            ("{{model}}", last("tolaria.update.lr", *_OF_MODEL)),
            limits=None,
            empty=_NO_UPDATES,
        ),
        timeseries_panel(
            "update_count",
            "Updates and samples of the run",
            "Straight lines; a flat part is a loop that waits.",
            ("updates {{model}}", total("tolaria.updates", *_OF_MODEL)),
            ("samples", total("tolaria.samples")),
            limits=None,
            empty=_NO_UPDATES,
        ),
        timeseries_panel(
            "logged_numbers",
            "Numbers that the program logs",
            "As the program's own log shows them; choose one in the legend, for they have no scale in common.",
            ("{{tag}}", last("tolaria.scalar", "tag")),
            limits=None,
            empty="the program logs nothing by a framework or for TensorBoard.",
        ),
    ),
    is_open=False,
)
