"""Alerts about the collectors themselves, on the telemetry that they serve on port 8888.

The names are not in the registry of signals: they are the collector's own, as release 0.159 serves them. A scrape of
the collectors has to give each a lasting ``instance`` (the pod's name, not its address) and, in Kubernetes, the uid of
its pod as ``k8s_pod_uid``.
"""

from typing import Any, Final

from esper_otel.alerts.alert import KEEP, Alert, text
from esper_otel.alerts.promql import RUN, counted

_EXPORTER: Final = ("exporter",)
_RECEIVER: Final = ("receiver", "transport")
_LIMITER: Final = ("processor",)
_KINDS: Final = ("spans", "log_records", "metric_points")

TELEMETRY: Final[dict[str, tuple[str, ...]]] = {
    "up": (),
    "otelcol_process_uptime": (),
    "otelcol_process_memory_rss": (),
    "otelcol_exporter_queue_size": ("exporter", "data_type"),
    "otelcol_exporter_queue_capacity": ("exporter", "data_type"),
    "otelcol_processor_tail_sampling_sampling_traces_on_memory": (),
    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early": (),
    **{f"otelcol_exporter_sent_{kind}": _EXPORTER for kind in _KINDS},
    **{f"otelcol_exporter_send_failed_{kind}": _EXPORTER for kind in _KINDS},
    **{f"otelcol_exporter_enqueue_failed_{kind}": _EXPORTER for kind in _KINDS},
    **{f"otelcol_receiver_refused_{kind}": _RECEIVER for kind in _KINDS},
    **{f"otelcol_processor_memory_limiter_refused_{kind}": _LIMITER for kind in _KINDS},
}
"""Labels of the collector's own metrics, beside ``job`` and ``instance``."""

_BY: Final = ", ".join(RUN)
_POD: Final = f"{_BY}, k8s_pod_uid"
"""Labels of one life of a pod: a process that was restarted in place has the same, as has one after a reboot of its
node, whose address is another; a pod that was replaced has another uid."""

_OPEN_ROUNDS: Final = "otelcol_processor_tail_sampling_sampling_traces_on_memory"
_DROPPED_EARLY: Final = "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"


def _series(name: str, **labels: str) -> str:
    """One series as the tests of the rules feed it.

    Raises:
        KeyError: there is no such metric, or its labels are others.
    """
    if set(labels) != set(TELEMETRY[name]):
        raise KeyError(f"metric {name!r} has the labels {TELEMETRY[name]}")
    written = ",".join(f'{label}="{value}"' for label, value in {"job": "esper", "instance": "run", **labels}.items())
    return f"{name}{{{written}}}"


def _alert(name: str, **fields: Any) -> Alert:
    return Alert(name=f"EsperCollector{name}", domain="esper", **fields)


def _kinds_counted(family: str, by: tuple[str, ...]) -> str:
    """Increase of the counters of one family, each kind of item under its own label."""
    arms = [
        f'label_replace(\n{counted(f"{family}_{kind}", (*RUN, *by))},\n"kind", "{kind}", "", "")' for kind in _KINDS
    ]
    return "\nor\n".join(arms)


def _on_items(name: str, family: str, by: tuple[str, ...], sample: dict[str, str], **fields: Any) -> Alert:
    """An alert that one item of any kind fires, also between two scrapes."""
    labels = TELEMETRY[f"{family}_spans"]
    watched = _series(f"{family}_spans", **{label: sample[label] for label in labels})
    return _alert(
        name,
        by=(*RUN, *by, "kind"),
        expr=_kinds_counted(family, by),
        keep=KEEP,
        counter=watched,
        fires={watched: "0x100 1x140"},
        quiet={watched: "0x240"},
        at=26,
        sample={**sample, "kind": "spans"},
        **fields,
    )


_QUEUE: Final = {"exporter": "otlp_http/traces", "data_type": "traces"}
_QUEUE_SIZE: Final = _series("otelcol_exporter_queue_size", **_QUEUE)
_QUEUE_CAPACITY: Final = _series("otelcol_exporter_queue_capacity", **_QUEUE)
_UPTIME: Final = _series("otelcol_process_uptime")
_SENT: Final = _series("otelcol_exporter_sent_spans", exporter="otlp_http/traces")

_DELIVERY: Final = (
    _on_items(
        "NotQueued",
        "otelcol_exporter_enqueue_failed",
        _EXPORTER,
        {"exporter": "otlp_http/traces"},
        severity="critical",
        concern="collector_loss",
        summary=text("""
            {{ $value | printf "%.0f" }} {{ $labels.kind }} did not fit in the queue of {{ $labels.exporter }} in {{
            $labels.instance }}
        """),
        reason=text("""
            A span that does not fit in the gateway's queue is lost, because the sender already has its acknowledgement.
            One is enough.
        """),
        meaning=text("""
            The queue on disk is full, or the disk is. Senders retry the agent's items and the gateway's metrics and
            logs; the gateway's spans are lost.
        """),
        look=("otelcol_exporter_queue_size / otelcol_exporter_queue_capacity", "otelcol_exporter_enqueue_failed_spans"),
        act=text("""
            Restore the backend that the exporter writes to, or enlarge the queue (`COLLECTOR_QUEUE_BYTES` and the
            volume). `esper-otel relay RUN --from-start` sends lost spans again under the same ids.
        """),
    ),
    _on_items(
        "SendFailed",
        "otelcol_exporter_send_failed",
        _EXPORTER,
        {"exporter": "otlp_http/traces"},
        severity="critical",
        concern="collector_loss",
        summary=text("""
            {{ $value | printf "%.0f" }} {{ $labels.kind }} were rejected permanently: {{ $labels.exporter }} of {{
            $labels.instance }}
        """),
        reason="The exporter retries temporary failures for ever and does not count them here; counted items are lost.",
        meaning="The receiver rejects these items permanently: wrong token, too old, or too large.",
        look=("otelcol_exporter_send_failed_spans", "otelcol_exporter_send_failed_metric_points"),
        act=text("""
            The collector's log shows the response. If the token is wrong, correct the Secret, then send the runs again
            with `esper-otel relay RUN --from-start`.
        """),
    ),
    _alert(
        "QueueFilling",
        severity="warning",
        concern="collector_queue",
        by=(*RUN, "exporter", "data_type"),
        expr=f"max by ({_BY}, exporter, data_type) (\n"
        "  otelcol_exporter_queue_size / otelcol_exporter_queue_capacity\n) > 0.8",
        hold="2m",
        summary=text("""
            The queue of {{ $labels.exporter }} ({{ $labels.data_type }}) in {{ $labels.instance }} is {{ $value |
            humanizePercentage }} full
        """),
        reason="A healthy queue is empty except for seconds at a time; at four fifths there is still time to act.",
        meaning="Items arrive faster than the exporter delivers them, or the receiver is down.",
        look=("otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity"),
        act="Check EsperCollectorNotSending; otherwise add gateways, or capacity behind them.",
        fires={_QUEUE_SIZE: "0x100 90x140", _QUEUE_CAPACITY: "100x240"},
        quiet={_QUEUE_SIZE: "70x240", _QUEUE_CAPACITY: "100x240"},
        sample=_QUEUE,
    ),
    _alert(
        "NotSending",
        severity="critical",
        concern="collector_queue",
        by=(*RUN, "exporter"),
        expr=f"max by ({_BY}, exporter) (min_over_time(otelcol_exporter_queue_size[5m])) > 0\n"
        f"unless on ({_BY}, exporter) (\n"
        + "\n  or\n".join(
            f"  sum by ({_BY}, exporter) (increase(otelcol_exporter_sent_{kind}[5m])) > 0" for kind in _KINDS
        )
        + "\n)",
        hold="5m",
        summary=text("""
            {{ $labels.exporter }} of {{ $labels.instance }} delivers nothing; {{ $value | humanize1024 }}B are queued
        """),
        reason="A restart takes less than ten minutes, and the queue was never empty in that time.",
        meaning="The exporter's backend is down or rejects data. Nothing is lost while the queue has room.",
        look=("otelcol_exporter_queue_size", "otelcol_exporter_sent_spans", "otelcol_exporter_sent_metric_points"),
        act="The collector's log shows the error: address, certificate, or a server that is down.",
        fires={_QUEUE_SIZE: "0x60 5000x200", _SENT: "0x60 9x200"},
        quiet={_QUEUE_SIZE: "5000x260", _SENT: "0+9x260"},
        at=45,
        sample={"exporter": "otlp_http/traces"},
    ),
)

_INTAKE: Final = (
    _on_items(
        "Refusing",
        "otelcol_receiver_refused",
        (),
        {"receiver": "otlp", "transport": "grpc"},
        severity="warning",
        concern="collector_intake",
        summary='{{ $labels.instance }} refused {{ $value | printf "%.0f" }} {{ $labels.kind }}',
        reason="A collector refuses data to protect itself; a healthy one never does.",
        meaning=text("""
            The collector's memory or queue is full, so it refuses data. Senders retry: relays from the event log,
            agents from their queue.
        """),
        look=(
            "otelcol_receiver_refused_spans",
            "otelcol_exporter_queue_size / otelcol_exporter_queue_capacity",
            "otelcol_process_memory_rss",
        ),
        act="Check the other alerts of this collector: the cause is a full queue or the memory limit.",
    ),
    _on_items(
        "MemoryLimit",
        "otelcol_processor_memory_limiter_refused",
        (),
        {"processor": "memory_limiter"},
        severity="warning",
        concern="collector_intake",
        summary=text("""
            {{ $labels.instance }} is at its memory limit and refused {{ $value | printf "%.0f" }} {{ $labels.kind }}
        """),
        reason="The limit is four fifths of the container's memory; a well-sized collector stays below it.",
        meaning="The collector holds more in memory than planned, on a gateway mostly the spans of open rounds.",
        look=("otelcol_process_memory_rss", _OPEN_ROUNDS),
        act="Add gateways or memory (docs/guides/scale.md has the figures).",
    ),
)

_SAMPLING: Final = (
    _alert(
        "RoundsDroppedEarly",
        severity="warning",
        concern="collector_sampling",
        by=RUN,
        expr=counted(_DROPPED_EARLY, RUN),
        keep=KEEP,
        counter=_series(_DROPPED_EARLY),
        fires={_series(_DROPPED_EARLY): "0x100 1x140"},
        quiet={_series(_DROPPED_EARLY): "0x240"},
        at=26,
        summary='{{ $labels.instance }} dropped {{ $value | printf "%.0f" }} round(s) before the sampling decision',
        reason="An anomalous round may be among them; the table of open rounds should never fill up.",
        meaning=text("""
            More rounds were open at once than the gateway has room for. They are counted when their decision is due, up
            to `COLLECTOR_DECISION_WAIT` later.
        """),
        look=(_DROPPED_EARLY, _OPEN_ROUNDS),
        act="Raise `COLLECTOR_OPEN_ROUNDS`, or add gateways.",
    ),
    _alert(
        "RoundsLost",
        severity="warning",
        concern="collector_sampling",
        by=RUN,
        expr=f"max by ({_BY}) (\n"
        f"  max by ({_POD}) (max_over_time({_OPEN_ROUNDS}[15m])) > 0\n"
        f"  and on ({_POD}) (resets(otelcol_process_uptime[15m]) > 0)\n"
        ")",
        keep=KEEP,
        fires={_series(_OPEN_ROUNDS): "0x80 3x20 0x140", _UPTIME: "0+15x100 5+15x140"},
        quiet={_series(_OPEN_ROUNDS): "3x240", _UPTIME: "0+15x240"},
        at=26,
        summary=text("""
            {{ $labels.instance }} was restarted in its pod; up to {{ $value | printf "%.0f" }} open round(s) lost spans
        """),
        reason=text("""
            Spans of a round stay in memory until it ends, so a kill loses them; the last scrapes hold their number. A
            process that starts anew in the same pod was killed, crashed, or its node restarted. A rolling update, a
            drain and a deletion make a new pod and do not fire: they end in order, which writes open rounds without a
            sampling decision and loses nothing.
        """),
        meaning=text("""
            A gateway was killed or crashed. Metrics and logs are complete on disk; the spans already received for open
            rounds are lost. What the series cannot show: a node that never comes back, or a pod deleted by force, takes
            its open rounds along without this alert, since the new pod is another one; EsperCollectorVanished alone may
            fire. A failed liveness probe restarts the process in order, in the same pod: this alert fires, though
            nothing need be lost. A process that is killed before its first scrape is not seen.
        """),
        look=(_OPEN_ROUNDS, "otelcol_process_uptime"),
        act=text("""
            Find out why: `kubectl describe pod` has the reason (OOMKilled, Error, a failed probe, a restarted node).
            `esper-otel relay RUN --from-start` sends the rounds again.
        """),
    ),
)

_LIVENESS: Final = (
    _alert(
        "Vanished",
        severity="critical",
        concern="collector",
        by=RUN,
        expr=f"max by ({_BY}) (up == 0)\nand on ({_BY}) (last_over_time(otelcol_process_uptime[1h]) > 0)",
        hold="2m",
        summary="The collector {{ $labels.instance }} cannot be scraped (up = {{ $value }})",
        reason="Two minutes are eight scrapes; a restart takes seconds.",
        meaning=text("""
            The collector is down or unreachable. Senders wait: relays with the event log, agents with their queue. If
            it is a gateway and its node is lost, so are the spans of its open rounds.
        """),
        look=("up", "otelcol_process_uptime"),
        act="Check the pod or process and its log. Queued data is delivered when the collector is back.",
        fires={_series("up"): "1x100 0x140", _UPTIME: "0+15x100 _x140"},
        quiet={_series("up"): "1x100 0x6 1x140", _UPTIME: "0+15x100 _x6 0+15x140"},
        at=40,
    ),
)

ALERTS: Final = (*_DELIVERY, *_INTAKE, *_SAMPLING, *_LIVENESS)
