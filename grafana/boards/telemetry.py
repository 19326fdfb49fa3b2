"""Telemetry health: is what the other dashboards show true, fresh and complete."""

from __future__ import annotations

from typing import Final

from grafana.board import Board, Row
from grafana.logql import events
from grafana.panel_kinds import ANY_IS_BAD, COLOURS, stat_panel, state_timeline_panel, timeseries_panel
from grafana.promql import Prom, age, counted, increase, last, latest, only_where, rate, raw
from grafana.tables import events_table_panel, table_panel

_NO_COLLECTOR: Final = "Nothing is scraped from a collector."
_DROPPED_EARLY: Final = "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"
_CHOSEN: Final = 'job=~"$job", instance=~"$instance"'


def _scraped(metric: str, unit: str = "short") -> Prom:
    """What Prometheus says about its scrapes of the run."""
    return raw(f"max by (instance) ({metric}{{{_CHOSEN}}})", labels=("instance",), unit=unit)


def _collector(metric: str, *by: str, function: str = "rate", unit: str = "cps") -> Prom:
    """A metric of the OpenTelemetry collector, which knows no run."""
    inner = f"{function}({metric}[$__rate_interval])" if function else metric
    labels = ("instance", *by)
    return raw(f"sum by ({', '.join(labels)}) ({inner})", labels=labels, unit=unit)


_FRESH = Row(
    "Is the run heard of?",
    (
        state_timeline_panel(
            "states",
            "State of the run",
            "One lane: running, then finished.",
            ("{{esper_run_state}}", only_where(last("esper.run.status", "esper_run_state", agg="max"), "== 1")),
            states={1: ("is", "green")},
            colours=COLOURS,
            width=12,
            height=6,
        ),
        stat_panel(
            "ages",
            "Age of the newest …",
            "Seconds, while the run goes on. A heartbeat comes every 10 s.",
            ("heartbeat", age("esper.last_heartbeat.timestamp")),
            ("event", age("esper.relay.last_record.timestamp")),
            ("epoch", age("tolaria.last_epoch.timestamp")),
            ("policy update", age("tamiyo.last_update.timestamp")),
            ("round", age("tolaria.last_batch.timestamp")),
            decimals=0,
            width=12,
            height=6,
            empty="The log is an esper-lite one, which has no heartbeats, or has no such event yet.",
        ),
        timeseries_panel(
            "lag",
            "Lag of the relay",
            "Under a second. Where it grows, the relay reads slower than the run writes.",
            last("esper.relay.lag", agg="max"),
        ),
        timeseries_panel(
            "backlog",
            "Log that waits",
            "Near 0; undelivered grows while an OTLP endpoint is away, and falls when it is back.",
            ("unread", last("esper.relay.unread", agg="max")),
            ("undelivered", last("esper.relay.undelivered", agg="max")),
        ),
        timeseries_panel(
            "writer",
            "Writer in the training process",
            "Writes take milliseconds, little waits.",
            ("longest write", last("esper.log.max_write_time", agg="max")),
            ("waiting events", last("esper.log.pending_events", agg="max")),
            second={"waiting events": "short"},
            unit="s",
            empty="The log is an esper-lite one, which has no heartbeats.",
        ),
    ),
)

_COMPLETE = Row(
    "Is anything missing?",
    (
        stat_panel(
            "losses",
            "Left out, since the run began",
            "Every number is 0.",
            ("lost events", counted("esper.log.lost_events")),
            ("rejected lines", counted("esper.telemetry.rejected_records")),
            ("unknown fields", counted("esper.telemetry.unknown_fields")),
            ("mistyped fields", counted("esper.telemetry.mistyped_fields")),
            ("folded values", counted("esper.telemetry.folded_values")),
            ("cut spans", counted("esper.relay.cut_spans")),
            ("refused items", counted("esper.relay.refused")),
            ("sensor faults", counted("esper.sensor.faults")),
            width=24,
            limits=ANY_IS_BAD,
            unit="none",
            horizontal=True,
        ),
        timeseries_panel(
            "events",
            "Events by type",
            "All types go on; one that stops has lost its producer.",
            rate("esper.events", "event_type"),
            width=12,
        ),
        table_panel(
            "nonfinite",
            "Values that were not finite",
            "Empty. A field that is here was NaN or infinite and is not exported until it is a number again.",
            ("values", only_where(latest("esper.telemetry.nonfinite", "event_type", "field", agg="sum"), "> 0")),
            names={"event_type": "event"},
            width=12,
            empty="Every value was finite.",
        ),
        table_panel(
            "rejected",
            "Lines that became no event",
            "Empty.",
            ("lines", only_where(latest("esper.telemetry.rejected_records", "reason", agg="sum"), "> 0")),
            height=6,
            width=12,
            empty="Every line became an event.",
        ),
        events_table_panel(
            "faults",
            "Losses and faults",
            "Empty.",
            events("TELEMETRY_LOSS", "SENSOR_FAULT", "XID_ERROR"),
            {"esper_event_type": "event", "severity_text": "severity", "Line": "what"},
            width=12,
            height=6,
            empty="Nothing was lost and no sensor failed.",
        ),
    ),
)

_DELIVERED = Row(
    "Does it arrive?",
    (
        timeseries_panel(
            "exported",
            "Delivered by OTLP",
            "As many as are produced.",
            rate("esper.relay.exported", "signal"),
            empty="The relay sends nothing by OTLP: OTEL_EXPORTER_OTLP_ENDPOINT is not set.",
        ),
        timeseries_panel(
            "export_failures",
            "Failed and refused exports",
            "0. Failed ones are tried again, refused items are lost.",
            ("failed {{signal}}", increase("esper.relay.export_failures", "signal")),
            ("refused {{signal}}", increase("esper.relay.refused", "signal")),
            empty="The relay sends nothing by OTLP: OTEL_EXPORTER_OTLP_ENDPOINT is not set.",
        ),
        timeseries_panel(
            "scrapes",
            "Scrapes: series and time",
            "Series level off: the attributes are bounded. A scrape takes milliseconds.",
            ("series", _scraped("scrape_samples_scraped")),
            ("time", _scraped("scrape_duration_seconds", "s")),
            second={"time": "s"},
            unit="short",
            empty="The run is not scraped: its metrics come through a collector.",
        ),
        timeseries_panel(
            "collector_flow",
            "Collector: received and sent",
            "What is received is sent.",
            ("received spans", _collector("otelcol_receiver_accepted_spans")),
            ("received points", _collector("otelcol_receiver_accepted_metric_points")),
            ("received log events", _collector("otelcol_receiver_accepted_log_records")),
            ("sent spans", _collector("otelcol_exporter_sent_spans")),
            ("sent points", _collector("otelcol_exporter_sent_metric_points")),
            ("sent log events", _collector("otelcol_exporter_sent_log_records")),
            empty=_NO_COLLECTOR,
        ),
        timeseries_panel(
            "collector_losses",
            "Collector: refused and lost",
            "0. Refused is tried again by the relay; what could not be queued is lost.",
            ("refused spans", _collector("otelcol_receiver_refused_spans")),
            ("refused log events", _collector("otelcol_receiver_refused_log_records")),
            ("not queued spans", _collector("otelcol_exporter_enqueue_failed_spans")),
            ("not queued log events", _collector("otelcol_exporter_enqueue_failed_log_records")),
            ("over the memory limit spans", _collector("otelcol_processor_memory_limiter_refused_spans")),
            ("rounds decided too early", _collector(_DROPPED_EARLY)),
            ("failed spans", _collector("otelcol_exporter_send_failed_spans")),
            ("failed log events", _collector("otelcol_exporter_send_failed_log_records")),
            empty=_NO_COLLECTOR,
        ),
        timeseries_panel(
            "collector_queue",
            "Collector: queue",
            "Far from full.",
            (
                "{{exporter}} {{data_type}}",
                raw(
                    "max by (exporter, data_type) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
                    labels=("exporter", "data_type"),
                    unit="percentunit",
                ),
            ),
            empty=_NO_COLLECTOR,
        ),
        timeseries_panel(
            "collector_life",
            "Collector: uptime and rounds in memory",
            "Uptime grows; a fall loses the rounds that were in memory.",
            ("uptime", _collector("otelcol_process_uptime", function="", unit="s")),
            (
                "rounds in memory",
                _collector("otelcol_processor_tail_sampling_sampling_traces_on_memory", function="", unit="short"),
            ),
            unit="s",
            second={"rounds in memory": "short"},
            empty=_NO_COLLECTOR,
        ),
    ),
)

TELEMETRY: Final = Board(
    domain="esper",
    title="Telemetry health",
    description="Is what the other dashboards show fresh, complete and delivered.",
    rows=(_FRESH, _COMPLETE, _DELIVERED),
)
