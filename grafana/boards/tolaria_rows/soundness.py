"""Tolaria: soundness of host training, and actions of the governor."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import ANY_IS_BAD, quantiles_panel, stat_panel, timeseries_panel
from grafana.panels.tables import events_table_panel
from grafana.queries.logql import events
from grafana.queries.promql import counted, last, mean, over_arms, quantile, total

_NO_GRADIENTS: Final = "layers are examined only with medium diagnostics"
_HOST_LOSSES: Final = {"event_type": "TOLARIA_EPOCH_COMPLETED", "field": "~val_loss|host_train_loss"}

SOUNDNESS: Final = Row(
    "Is training sound?",
    (
        stat_panel(
            "broken",
            "Since the run began",
            "Every number is 0: no host was rolled back, no loss and no layer's gradient was NaN or infinite.",
            ("rollbacks", counted("tolaria.rollbacks")),
            ("bad losses", counted("esper.telemetry.nonfinite", **_HOST_LOSSES)),
            ("bad layers", counted("tolaria.gradient.nonfinite_layers")),
            width=8,
            limits=ANY_IS_BAD,
            unit="none",
            horizontal=True,
        ),
        stat_panel(
            "layers",
            "Layers in the worst environment",
            "No dead and no exploding layers.",
            ("dead layers", over_arms("max", last("tolaria.dead_layers", agg="max"))),
            ("exploding layers", over_arms("max", last("tolaria.exploding_layers", agg="max"))),
            ("zero entries", over_arms("max", last("tolaria.grad_zero_fraction", agg="max"))),
            ("norm spread", over_arms("max", last("tolaria.grad_norm_spread", agg="max"))),
            width=16,
            unit="short",
            horizontal=True,
            empty=_NO_GRADIENTS,
        ),
        timeseries_panel(
            "rollbacks",
            "Rollbacks by reason",
            "Flat at 0: each step up is a host that was restored to its last good state.",
            total("tolaria.rollbacks", "panic_reason"),
        ),
        quantiles_panel(
            "grad_norm",
            "Gradient norm of the hosts",
            "Flat, within a factor of ten.",
            ("mean", mean("tolaria.host_grad_norm")),
            ("p99", quantile(0.99, "tolaria.host_grad_norm")),
            ("by layer, p99", quantile(0.99, "tolaria.gradient.norm")),
            limits="tolaria.host_grad_norm",
            empty="esper-lite's log has no gradient norms of the host.",
        ),
        timeseries_panel(
            "gradients",
            "Shape of the gradients",
            "Zero entries stay rare; no layer's norm is many orders above another's.",
            ("norm spread {{env_id}}", last("tolaria.grad_norm_spread", "env_id")),
            log_above=1e-6,
            limits=None,
            empty=_NO_GRADIENTS,
        ),
        events_table_panel(
            "rollback_log",
            "Rollbacks, newest first",
            "Empty. A loss of NaN, one beyond its threshold, or a prediction that no longer depends on the input.",
            events("TOLARIA_ROLLBACK", by_env=True),
            {
                "esper_group_id": "group",
                "tolaria_env_id": "env",
                "tolaria_panic_reason": "reason",
                "tolaria_loss_at_panic": "loss",
                "tolaria_loss_threshold": "threshold",
                "tolaria_consecutive_panics": "panics in a row",
                "tolaria_raw_penalty": "penalty",
                "tolaria_triggering_action_id": "after action",
                "tolaria_episode_idx": "episode",
                "tolaria_inner_epoch": "epoch",
                "trace_id": "trace",
            },
            width=24,
            height=6,
            empty="the governor did not intervene",
        ),
    ),
)

LAYERS: Final = Row(
    "What do the layers of the hosts say?",
    (
        timeseries_panel(
            "sensor_norm",
            "Gradient norm, sampled",
            "Flat, within a factor of ten.",
            ("{{device}}", last("tolaria.gradient.last_norm", "device")),
            log_above=1e-6,
            limits=None,
            empty=_NO_GRADIENTS,
        ),
        timeseries_panel(
            "sensor_spread",
            "Largest over smallest layer norm",
            "No layer's norm is many orders above another's.",
            ("{{device}}", last("tolaria.gradient.norm_spread", "device")),
            log_above=1e-6,
            limits=None,
            empty=_NO_GRADIENTS,
        ),
        timeseries_panel(
            "sensor_zeros",
            "Dead layers and zero entries",
            "No dead layer; zero entries stay rare.",
            ("dead layers {{device}}", last("tolaria.gradient.dead_layers", "device")),
            ("zero entries {{device}}", last("tolaria.gradient.zero_fraction", "device")),
            second={"zero entries.*": "percentunit"},
            unit="short",
            limits=None,
            empty=_NO_GRADIENTS,
        ),
    ),
    is_open=False,
)
