"""Alerts about the updates of any training loop."""

from typing import Final

from esper_otel.alerts.alert import Alert, on_count, text
from esper_otel.alerts.promql import ARM, RUN, Share, limit, metric, series, share, threshold, while_running

_HIGH: Final = Share(0.05, 20)
_MODEL: Final = (*ARM, "model")
_UPDATES: Final = metric("tolaria.updates")
_NORM_QUERY: Final = "histogram_quantile(0.99, sum by (le, model) (rate(tolaria_update_pre_clip_grad_norm_bucket[5m])))"
_LARGEST: Final = text("""
    SELECT timestamp, model, optimizer, "update", loss, pre_clip_grad_norm, grad_norm_excess
    FROM tolaria_training_update ORDER BY grad_norm_excess DESC NULLS LAST LIMIT 20
""")

_BY: Final = ", ".join(RUN)
_SINCE: Final = f"(time() - max by ({_BY}) ({metric('tolaria.last_update.timestamp')}))"
_STEP: Final = f"max by ({_BY}) ({metric('tolaria.step.mean_duration')})"
_RUNNING: Final = series("esper.run.status", esper_run_state="running")
_BY_ARM: Final = ", ".join(ARM)
_WAIT: Final = f"avg by ({_BY_ARM}) (avg_over_time({metric('tolaria.dataloader_wait.mean_duration')}[15m]))"
_EACH: Final = f"avg by ({_BY_ARM}) (avg_over_time({metric('tolaria.step.mean_duration')}[15m]))"

ALERTS: Final = (
    on_count(
        "TolariaGradNormExploded",
        "tolaria.update.grad_norm_violations",
        labels={"severity": "critical"},
        sample={"severity": "critical", "model": "Net"},
        by=_MODEL,
        domain="tolaria",
        severity="critical",
        concern="update_norm",
        summary=text(f"""
            {{{{ $value | printf "%.0f" }}}} update(s) of {{{{ $labels.model }}}} in {{{{ $labels.instance }}}} with a
            gradient norm more than {limit("tolaria.update.grad_norm_violations", "critical_above")} times the
            largest of late
        """),
        reason=text(f"""
            {threshold("tolaria.update.grad_norm_violations").reason} One such update is enough: clipping keeps only its
            direction, and that direction is noise.
        """),
        meaning="At least one update's gradient norm before clipping was above 3 and far above every norm before it.",
        look=(metric("tolaria.update.max_pre_clip_grad_norm"), _NORM_QUERY, metric("tolaria.update.loss")),
        sql=_LARGEST,
        act=text("""
            Find the update in the log and look at the batch before it: outliers, an empty mask, a division by a small
            number. If it repeats, lower the learning rate or warm it up; a network whose loss is a large sum has large
            norms by nature: divide the loss by its number of terms.
        """),
    ),
    Alert(
        name="TolariaGradNormHigh",
        domain="tolaria",
        severity="warning",
        concern="update_norm",
        expr=share(metric("tolaria.update.grad_norm_violations"), _UPDATES, _HIGH),
        share=_HIGH,
        hold="10m",
        summary=text(f"""
            {{{{ $value | humanizePercentage }}}} of the updates of {{{{ $labels.instance }}}} in 30 min had a gradient
            norm more than {limit("tolaria.update.grad_norm_violations", "warning_above")} times the largest of late
        """),
        reason=text(f"""
            {threshold("tolaria.update.grad_norm_violations").reason} A share of 5 % over half an hour is 60 times
            that of any healthy program.
        """),
        meaning="Large gradients are no longer single outliers.",
        look=(_NORM_QUERY, metric("tolaria.update.lr"), metric("tolaria.update.loss")),
        sql=_LARGEST,
        act="Compare with the loss: does it grow, lower the learning rate; does it not, the loss is a sum: average it.",
        fires={
            series("tolaria.updates"): "0+4x400",
            series("tolaria.update.grad_norm_violations", severity="warning"): "0x40 1+1x360",
        },
        quiet={
            series("tolaria.updates"): "0+4x400",
            series("tolaria.update.grad_norm_violations", severity="warning"): "0x80 3x320",
        },
    ),
    on_count(
        "TolariaNonFiniteUpdate",
        "tolaria.nonfinite_updates",
        labels={},
        sample={"kind": "nan", "model": "Net"},
        by=_MODEL,
        domain="tolaria",
        severity="critical",
        concern="update_nonfinite",
        summary=text("""
            {{ $value | printf "%.0f" }} update(s) of {{ $labels.model }} in {{ $labels.instance }} had a NaN or
            infinite gradient norm
        """),
        reason="An optimizer that steps with a NaN gradient destroys the weights; one such step is enough.",
        meaning="The optimizer stepped although a gradient was NaN or infinite.",
        look=(metric("tolaria.nonfinite_updates"), metric("tolaria.nonfinite_losses"), metric("tolaria.update.loss")),
        sql=text("""
            SELECT timestamp, model, optimizer, "update", loss, pre_clip_grad_norm FROM tolaria_training_update
            WHERE NOT isfinite(pre_clip_grad_norm) ORDER BY timestamp LIMIT 20
        """),
        act=text("""
            Stop the run: the weights are damaged. Resume from the last checkpoint before the first such update, and
            skip updates whose norm is not finite.
        """),
    ),
    Alert(
        name="TolariaLoopInputBound",
        domain="tolaria",
        severity="warning",
        concern="throughput",
        expr=f"{_WAIT}\n  / {_EACH} > 0.5",
        hold="10m",
        summary="The loop of {{ $labels.instance }} waits for data {{ $value | humanizePercentage }} of the time",
        reason=text("""
            Above a half the accelerator is idle for longer than it computes. Both times are means over all steps of a
            report, so that many short waits count like a long one; the mean is over the ranks.
        """),
        meaning="The thread that trains asks its data loaders faster than they give batches.",
        look=(
            metric("tolaria.dataloader_wait.mean_duration"),
            f"sum by (phase) (rate({metric('tolaria.step_phase.duration', 'sum')}[5m]))",
            metric("tolaria.samples"),
        ),
        sql=text("""
            SELECT timestamp, rank, dataloader_wait_ms, step_time_ms FROM tolaria_throughput
            WHERE dataloader_wait_ms > 0.5 * step_time_ms ORDER BY timestamp DESC LIMIT 20
        """),
        act=text("""
            Give the DataLoader more workers (`num_workers`), `persistent_workers=True` and `pin_memory=True`; move
            decoding and augmentation out of the loop; check disk and network of the data.
        """),
        fires={
            series("tolaria.dataloader_wait.mean_duration"): "0.02x40 0.08x300",
            series("tolaria.step.mean_duration"): "0.1x340",
        },
        quiet={
            series("tolaria.dataloader_wait.mean_duration"): "0.02x100 0.09x10 0.02x300",
            series("tolaria.step.mean_duration"): "0.1x410",
        },
    ),
    Alert(
        name="TolariaUpdatesStalled",
        domain="tolaria",
        severity="warning",
        concern="progress",
        by=RUN,
        expr=while_running(f"({_SINCE} > 1800\n  unless on ({_BY}) ({_SINCE} < 20 * {_STEP}))"),
        hold="1m",
        summary="The last optimizer step of {{ $labels.instance }} was {{ $value | humanizeDuration }} ago",
        reason=text("""
            Steps take milliseconds to minutes. Half an hour that is also twenty of the loop's own steps is no slow
            step, while evaluations and checkpoints of most programs take less.
        """),
        meaning="The process lives and reports, but its optimizers do not step any more.",
        look=(
            metric("tolaria.last_update.timestamp"),
            f"sum by (phase) (rate({metric('tolaria.step_phase.duration', 'sum')}[5m]))",
            metric("hw.gpu.utilization"),
        ),
        sql=text("""
            SELECT event_type, max(timestamp) AS newest, count(*) AS times FROM raw_events GROUP BY event_type ORDER BY
            newest DESC LIMIT 20
        """),
        act=text("""
            Run `esper-otel stacks RUN`. A long evaluation needs no action; a data loader that
            waits, a collective that hangs or a loop that skips each step does.
        """),
        is_symptom=True,
        fires={
            _RUNNING: "1x400",
            series("tolaria.last_update.timestamp", model="Net", optimizer="Adam"): "0+15x40 600x360",
            series("tolaria.step.mean_duration"): "0.1x400",
        },
        quiet={
            _RUNNING: "1x400",
            series("tolaria.last_update.timestamp", model="Net", optimizer="Adam"): "0+15x40 600x360",
            series("tolaria.step.mean_duration"): "300x400",
        },
    ),
)
