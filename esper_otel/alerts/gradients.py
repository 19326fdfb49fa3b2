"""Alerts about the gradients of policy updates, and about updates that are lost."""

from typing import Final

import msgspec

from esper_otel.alerts.alert import Alert, on_count, text
from esper_otel.alerts.promql import ARM, RUN, Share, counted, limit, metric, series, share, threshold
from esper_otel.events.policy_critic import UNDEFINED_WHERE_ALIKE
from esper_otel.events.policy_optimisation import NEVER_UNDEFINED

_UPDATES: Final = metric("tamiyo.updates")
_UPDATE_SERIES: Final = series("tamiyo.updates")
_HIGH: Final = Share(0.05, 20)
_VANISHING: Final = Share(0.5, 20)
_SKIPPED: Final = Share(0.1, 20)
_NORM_QUERY: Final = "histogram_quantile(0.99, sum by (le) (rate(tamiyo_pre_clip_grad_norm_bucket[5m])))"
_WORST_NORM: Final = (
    "{{ with printf \"max by (job) (max_over_time(tamiyo_max_pre_clip_grad_norm{job='%s',instance='%s'}[15m]))\""
    " $labels.job $labels.instance | query }}, the largest was {{ . | first | value | humanize }}{{ end }}"
)

_NONFINITE: Final = "esper.telemetry.nonfinite"
_OTHER_FIELDS: Final = "~" + "|".join(NEVER_UNDEFINED)
_LONGER: Final = "20m"
"""A detection and its number may lie in two scrapes: the number has to count for as long as the detection does."""


def _without_undefined(detections: Alert) -> Alert:
    """``detections``, but not where the only number that was NaN has no value because all returns are alike."""
    undefined, wrong = (
        counted(metric(_NONFINITE, field=field), RUN, over=_LONGER) for field in (UNDEFINED_WHERE_ALIKE, _OTHER_FIELDS)
    )
    on = f"unless on ({', '.join(RUN)})"
    update = {"event_type": "TAMIYO_POLICY_UPDATE"}
    alike = {
        detections.counter: "0x100 1x140",
        series(_NONFINITE, field=UNDEFINED_WHERE_ALIKE, **update): "_x100 1x140",
    }
    return msgspec.structs.replace(
        detections,
        expr=f"{detections.expr}\n{on} (\n{undefined}\n{on} {wrong}\n)",
        fires={**alike, series(_NONFINITE, field=NEVER_UNDEFINED[0], **update): "_x100 1x140"},
        quiet=alike,
    )


_GRAD_NORM = (
    on_count(
        "TamiyoGradNormExploded",
        "tamiyo.grad_norm_violations",
        labels={"severity": "critical"},
        sample={"severity": "critical"},
        domain="tamiyo",
        severity="critical",
        concern="grad_norm",
        summary=text(f"""
            {{{{ $value | printf "%.0f" }}}} policy update(s) of {{{{ $labels.instance }}}} with a gradient norm above
            {limit("tamiyo.grad_norm_violations", "critical_above")}{_WORST_NORM}
        """),
        reason=text(f"""
            {threshold("tamiyo.grad_norm_violations").reason} One such update is enough: clipping keeps only its
            direction, and that direction is noise.
        """),
        meaning="At least one update's gradient norm before clipping was two decades above the clipping limit.",
        look=(
            metric("tamiyo.max_pre_clip_grad_norm"),
            _NORM_QUERY,
            metric("tamiyo.head_grad_norm"),
            metric("tamiyo.joint_ratio_max"),
        ),
        act=text("""
            Find the update in the log (`tamiyo.policy_update` with a large `pre_clip_grad_norm`) and open the trace of
            its round: see which head has the large norm, and whether rewards or advantages of that round are extreme.
            If it repeats, resume from the last checkpoint with a smaller learning rate or `max_grad_norm`.
        """),
    ),
    Alert(
        name="TamiyoGradNormHigh",
        domain="tamiyo",
        severity="warning",
        concern="grad_norm",
        expr=share(metric("tamiyo.grad_norm_violations"), _UPDATES, _HIGH),
        share=_HIGH,
        hold="10m",
        summary=text(f"""
            {{{{ $value | humanizePercentage }}}} of the updates of {{{{ $labels.instance }}}} in 30 min had a gradient
            norm above {limit("tamiyo.grad_norm_violations", "warning_above")}
        """),
        reason=text(f"""
            {threshold("tamiyo.grad_norm_violations").reason} A share of 5 % over half an hour exceeds what the first
            updates of a fresh policy cause.
        """),
        meaning="Large gradients are no longer single outliers.",
        look=(_NORM_QUERY, metric("tamiyo.lr"), metric("tamiyo.value_loss")),
        act=text("""
            Compare with the value loss: a growing critic loss points to unscaled returns, a growing policy ratio to a
            learning rate that is too large.
        """),
        fires={_UPDATE_SERIES: "0+4x400", series("tamiyo.grad_norm_violations", severity="warning"): "0x40 1+1x360"},
        quiet={_UPDATE_SERIES: "0+4x400", series("tamiyo.grad_norm_violations", severity="warning"): "0x80 3x320"},
    ),
    Alert(
        name="TamiyoGradNormVanishing",
        domain="tamiyo",
        severity="warning",
        concern="grad_norm_small",
        expr=share(
            metric("tamiyo.pre_clip_grad_norm", "bucket", le="0.001"),
            metric("tamiyo.pre_clip_grad_norm", "count"),
            _VANISHING,
        ),
        share=_VANISHING,
        hold="10m",
        summary=text("""
            {{ $value | humanizePercentage }} of the updates of {{ $labels.instance }} in 30 min had a gradient norm of
            0.001 or less
        """),
        reason=text("""
            0.001 is three decades below the clipping limit of 1, where Adam's epsilon of 1e-8 begins to matter for
            single weights; half of the updates rules out a flat batch here and there.
        """),
        meaning="The policy receives almost no gradient and no longer learns.",
        look=(
            _NORM_QUERY,
            metric("tamiyo.advantage_std"),
            metric("tamiyo.grad_zero_fraction"),
            metric("tamiyo.entropy"),
        ),
        act=text("""
            Check whether the advantages are all alike (reward constant, floor reached) or the policy is deterministic;
            otherwise look for dead layers.
        """),
        fires={
            series("tamiyo.pre_clip_grad_norm", "bucket", le="0.001"): "0x20 0+4x380",
            series("tamiyo.pre_clip_grad_norm", "count"): "0+4x400",
        },
        quiet={
            series("tamiyo.pre_clip_grad_norm", "bucket", le="0.001"): "0+1x400",
            series("tamiyo.pre_clip_grad_norm", "count"): "0+4x400",
        },
    ),
)

_LOST_UPDATES = (
    on_count(
        "TamiyoNonFiniteUpdate",
        "tamiyo.nonfinite_updates",
        labels={},
        sample={"kind": "nan"},
        domain="tamiyo",
        severity="critical",
        concern="nonfinite",
        summary=text("""
            {{ $value | printf "%.0f" }} policy update(s) of {{ $labels.instance }} had a NaN or infinite gradient norm
        """),
        reason="There is no healthy number of NaN gradients without mixed precision; one is enough.",
        meaning="A gradient norm was NaN or infinite; applied, it would destroy the weights.",
        look=(
            metric("tamiyo.nonfinite_updates"),
            metric("esper.telemetry.nonfinite"),
            metric("tamiyo.head_nan_detected") + " > 0",
            metric("tamiyo.lstm_has_nan") + " > 0",
        ),
        sql=text("""
            SELECT timestamp, batch, 'done' AS outcome, pre_clip_grad_norm FROM tamiyo_updates WHERE NOT
            isfinite(pre_clip_grad_norm) UNION ALL SELECT timestamp, batch, reason, pre_clip_grad_norm FROM
            tamiyo_update_skipped WHERE NOT isfinite(pre_clip_grad_norm) ORDER BY timestamp DESC LIMIT 20
        """),
        act=text("""
            Find the first field that became non-finite (`esper_telemetry_nonfinite_total` by field), then the round in
            the log. If the losses are NaN too, the weights are damaged: stop the run and resume from the last
            checkpoint.
        """),
    ),
    Alert(
        name="TamiyoUpdatesSkipped",
        domain="tamiyo",
        severity="warning",
        concern="skipped",
        expr=share(metric("tamiyo.skipped_updates", reason="!amp_overflow"), _UPDATES, _SKIPPED),
        share=_SKIPPED,
        hold="10m",
        summary=text("""
            {{ $value | humanizePercentage }} as many updates of {{ $labels.instance }} were skipped as were applied
        """),
        reason=text("""
            Skipping one in ten costs a tenth of the learning; overflows of the gradient scaler are normal and have
            their own alert.
        """),
        meaning="Policy updates leave the weights unchanged.",
        look=(f"sum by (reason) (increase({metric('tamiyo.skipped_updates')}[30m]))",),
        act=text("""
            The reason label says why: trace non-finite losses and gradients as for TamiyoNonFiniteUpdate; in an empty
            batch no step had a choice, see `tamiyo_decision_density`.
        """),
        fires={_UPDATE_SERIES: "0+4x400", series("tamiyo.skipped_updates", reason="nonfinite_loss"): "0x40 0+1x360"},
        quiet={
            _UPDATE_SERIES: "0+4x400",
            series("tamiyo.skipped_updates", reason="nonfinite_loss"): "0x100 1x300",
            series("tamiyo.skipped_updates", reason="amp_overflow"): "0+1x400",
        },
    ),
    Alert(
        name="TamiyoOptimizerStalled",
        domain="tamiyo",
        severity="critical",
        concern="skipped",
        expr=f"(sum by ({', '.join(ARM)}) (increase({metric('tamiyo.skipped_updates')}[15m])) > 0)\n"
        f"unless (sum by ({', '.join(ARM)}) (increase({_UPDATES}[15m])) > 0)",
        hold="5m",
        summary=text("""
            {{ $value | printf "%.0f" }} updates of {{ $labels.instance }} were skipped in 15 min and none was applied
        """),
        reason="15 min without any change of the weights while rounds continue wastes compute, whatever the cause.",
        meaning="Every policy update is skipped; the policy does not change while the run continues.",
        look=(f"sum by (reason) (increase({metric('tamiyo.skipped_updates')}[15m]))", f"rate({_UPDATES}[5m])"),
        act="Stop the run. Resume from the last checkpoint before the first skipped update.",
        fires={
            _UPDATE_SERIES: "0+1x60 60x300",
            series("tamiyo.skipped_updates", reason="nonfinite_loss"): "0x60 0+1x300",
        },
        quiet={_UPDATE_SERIES: "0+1x400", series("tamiyo.skipped_updates", reason="nonfinite_loss"): "0x60 0+1x300"},
    ),
    _without_undefined(
        on_count(
            "TamiyoNumericalInstability",
            "simic.numerical_instabilities",
            labels={},
            sample={},
            domain="tamiyo",
            severity="critical",
            concern="nonfinite",
            summary='NaN or infinity was detected {{ $value | printf "%.0f" }} time(s) in {{ $labels.instance }}',
            reason=text("""
                The detector fires on any NaN or infinity in losses, gradients or weights; one is enough. esper-lite's
                also fires on an explained variance that is undefined because all returns are alike, as in healthy runs:
                while that is the only number of a policy update that was NaN, the alert is silent.
            """),
            meaning="The training's anomaly detector found NaN or infinity.",
            look=(metric("simic.numerical_instabilities"), metric(_NONFINITE)),
            act="Read the event NUMERICAL_INSTABILITY_DETECTED in the log: its detail names the non-finite value.",
        )
    ),
    Alert(
        name="TamiyoRecurrentStateNonFinite",
        domain="tamiyo",
        severity="critical",
        concern="nonfinite",
        expr=f"max by ({', '.join(ARM)}) (\n"
        f"    max_over_time({metric('tamiyo.lstm_has_nan')}[10m])\n"
        f"  or\n    max_over_time({metric('tamiyo.lstm_has_inf')}[10m])\n) > 0",
        summary="The recurrent state of {{ $labels.instance }} held NaN or infinity (flag {{ $value }})",
        reason="Any NaN or infinity is critical on esper-lite's screens: the state carries it into every later step.",
        meaning="The recurrent state of the policy held a NaN or an infinity after an update.",
        look=(metric("tamiyo.lstm_rms"), metric("tamiyo.lstm_max")),
        act="Stop the run and resume from a checkpoint; look at the growth of the state's RMS before it.",
        fires={series("tamiyo.lstm_has_nan"): "0x100 1x40 0x100", series("tamiyo.lstm_has_inf"): "0x240"},
        quiet={series("tamiyo.lstm_has_nan"): "0x240", series("tamiyo.lstm_has_inf"): "0x240"},
        at=28,
    ),
)

ALERTS: Final = (*_GRAD_NORM, *_LOST_UPDATES)
