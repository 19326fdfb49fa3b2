"""Alerts about the telemetry that all other alerts depend on: the event log, the relay and its exports."""

from typing import Final

from esper_otel.alerts.alert import Alert, on_count, text
from esper_otel.alerts.promql import RUN, metric, series

_BY: Final = ", ".join(RUN)

ALERTS: Final = (
    Alert(
        name="EsperEventLogLag",
        domain="esper",
        severity="warning",
        concern="lag",
        by=RUN,
        expr=f"max by ({_BY}) ({metric('esper.relay.lag')}) > 60",
        hold="5m",
        summary="The relay of {{ $labels.instance }} is {{ $value | humanizeDuration }} behind the log",
        reason="The relay polls every 50 ms; a minute behind for 5 min means that it does not keep up.",
        meaning="Metrics and alerts show the past: the relay reads more slowly than the run writes.",
        look=(metric("esper.relay.lag"), metric("esper.relay.unread"), f"rate({metric('esper.events')}[5m])"),
        sql=text("""
            SELECT date_trunc('minute', timestamp) AS minute, count(*) AS events FROM raw_events GROUP BY minute ORDER
            BY minute DESC LIMIT 20
        """),
        act="Check whether the relay lacks CPU (limits of the sidecar); it loses nothing and catches up.",
        is_symptom=True,
        fires={series("esper.relay.lag"): "0x100 90x300"},
        quiet={series("esper.relay.lag"): "0x200 90x10 0x200"},
    ),
    on_count(
        "EsperEventsLost",
        "esper.log.lost_events",
        labels={},
        sample={},
        domain="esper",
        severity="warning",
        concern="loss",
        summary='{{ $value | printf "%.0f" }} event(s) of {{ $labels.instance }} were lost',
        reason="The log is built to lose nothing; one lost event matters.",
        meaning=text("""
            The event log dropped events: its buffer was full, a write failed, or an event could not be encoded.
        """),
        look=(metric("esper.log.lost_events"), metric("esper.log.pending_size"), metric("esper.log.max_write_time")),
        act="Read TELEMETRY_LOSS in the log: it gives the reason and the first cause, usually a full disk.",
    ),
    on_count(
        "EsperRecordsRejected",
        "esper.telemetry.rejected_records",
        labels={"reason": "!torn"},
        sample={"reason": "malformed"},
        by=RUN,
        domain="esper",
        severity="warning",
        concern="loss",
        summary='{{ $value | printf "%.0f" }} line(s) of the log of {{ $labels.instance }} could not be read',
        reason="A complete line is always readable; a kill leaves a torn line, which is not counted here.",
        meaning="The log holds lines that the relay could not use, by reason.",
        look=(metric("esper.telemetry.rejected_records"), metric("esper.telemetry.unknown_fields")),
        sql=text("""
            SELECT reason, event_type, count(*) AS times, any_value(excerpt) AS excerpt FROM rejected_lines WHERE reason
            <> 'torn' GROUP BY ALL ORDER BY times DESC LIMIT 20
        """),
        act=text("""
            Unknown event types mean that the producer is newer than the relay: upgrade the relay, then replay the run.
        """),
    ),
    Alert(
        name="EsperExportFailing",
        domain="esper",
        severity="warning",
        concern="export",
        by=(*RUN, "signal"),
        expr=f"sum by ({_BY}, signal) (increase({metric('esper.relay.export_failures')}[10m])) > 0\n"
        f"unless sum by ({_BY}, signal) (increase({metric('esper.relay.exported')}[10m])) > 0",
        hold="5m",
        summary=text("""
            {{ $labels.instance }} delivered no {{ $labels.signal }} for 10 min ({{ $value | printf "%.0f" }} failures)
        """),
        reason=text("""
            The relay retries a failed export at no cost; 10 min without any success is an outage of the receiver.
        """),
        meaning="The OTLP endpoint does not accept the relay's data.",
        look=(metric("esper.relay.export_failures"), metric("esper.relay.undelivered")),
        act=text("""
            Check the collector. Traces and logs wait in the event log and are delivered later; metrics of the outage
            are lost on the OTLP path.
        """),
        fires={
            series("esper.relay.export_failures", signal="traces"): "0x100 0+1x300",
            series("esper.relay.exported", signal="traces"): "0+9x100 900x300",
        },
        quiet={
            series("esper.relay.export_failures", signal="traces"): "0+1x400",
            series("esper.relay.exported", signal="traces"): "0+9x400",
        },
        sample={"signal": "traces"},
    ),
    on_count(
        "EsperExportRefused",
        "esper.relay.refused",
        labels={},
        sample={"signal": "traces"},
        by=RUN,
        domain="esper",
        severity="warning",
        concern="export",
        summary='The OTLP receiver permanently rejected {{ $value | printf "%.0f" }} item(s) of {{ $labels.instance }}',
        reason="A permanently rejected item is lost on that path; one is enough.",
        meaning="The receiver returned an error that must not be retried.",
        look=(metric("esper.relay.refused"),),
        act="The relay's log shows the response: a wrong token, a body that is too large, or a tenant limit.",
    ),
    Alert(
        name="EsperDeliveryBacklog",
        domain="esper",
        severity="warning",
        concern="export",
        by=RUN,
        expr=f"max by ({_BY}) (min_over_time({metric('esper.relay.undelivered')}[15m])) > 256 * 1024 * 1024",
        summary="{{ $value | humanize1024 }}B of the log of {{ $labels.instance }} wait for delivery",
        reason="256 MiB are some hundred thousand events, more than a short outage of the receiver leaves behind.",
        meaning="The relay delivers spans and log events more slowly than the run creates them.",
        look=(metric("esper.relay.undelivered"), f"rate({metric('esper.relay.exported')}[5m])"),
        sql=text("""
            SELECT event_type, count(*) AS times, sum(length(data)) AS characters FROM raw_events GROUP BY event_type
            ORDER BY characters DESC LIMIT 20
        """),
        act="Check EsperExportFailing; otherwise the collector is too slow for the load.",
        fires={series("esper.relay.undelivered"): "0x40 400000000x300"},
        quiet={series("esper.relay.undelivered"): "0x40 400000000x20 0x300"},
    ),
    Alert(
        name="EsperSpansCut",
        domain="esper",
        severity="info",
        concern="traces",
        by=RUN,
        expr=f"sum by ({_BY}) (increase({metric('esper.relay.cut_spans')}[1h])) > 0",
        summary='{{ $value | printf "%.0f" }} span(s) of {{ $labels.instance }} did not fit into their traces in 1 h',
        reason="A trace holds 1,000 spans by design; the rest is only in the log and in the metrics.",
        meaning="Rounds have more spans than a trace may hold.",
        look=(metric("esper.relay.cut_spans"),),
        sql=text("""
            SELECT group_id, env_id, episode_idx, count(*) AS epochs FROM tolaria_epochs GROUP BY ALL ORDER BY epochs
            DESC LIMIT 20
        """),
        act="Do nothing if nobody needs the spans; shorter episodes make smaller traces.",
        fires={series("esper.relay.cut_spans"): "0x100 0+5x300"},
        quiet={series("esper.relay.cut_spans"): "5x400"},
    ),
    on_count(
        "EsperSensorFault",
        "esper.sensor.faults",
        labels={},
        sample={"sensor": "amp", "reason": "unavailable"},
        domain="esper",
        severity="info",
        concern="sensors",
        summary='A sensor of {{ $labels.instance }} failed {{ $value | printf "%.0f" }} time(s)',
        reason="A failed sensor is reported once; panels that depend on it stay empty.",
        meaning="A sensor in the training process is unavailable.",
        look=(metric("esper.sensor.faults"),),
        act="Read SENSOR_FAULT in the log for the reason; install the missing driver or library, or accept the gap.",
    ),
)
