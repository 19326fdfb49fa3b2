"""Telemetry health: freshness, completeness and delivery of the data behind the other dashboards."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Board, Row
from grafana.panels.kinds import ANY_IS_BAD, stat_panel, timeseries_panel
from grafana.panels.states import state_timeline_panel
from grafana.panels.tables import events_table_panel, table_panel
from grafana.queries.logql import events
from grafana.queries.promql import Prom, age, counted, increase, last, only_where, over_arms, rate, raw, state
from grafana.queries.truth import STATES, value, window

_NO_HEARTBEATS: Final = "esper-lite's log has no heartbeats."
_NO_GPU: Final = "no GPU is measured"
_NO_COLLECTOR: Final = "nothing is scraped from a collector"
_DROPPED_EARLY: Final = "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"
_CHOSEN: Final = 'job=~"$job", instance=~"$instance"'


def _scraped(metric: str, unit: str = "short") -> Prom:
    """Prometheus' own metric about its scrapes of the run."""
    return raw(f"max by (instance) ({value(f'{metric}{{{_CHOSEN}}}')})", labels=("instance",), unit=unit)


def _collector(metric: str, *by: str, function: str = "rate", unit: str = "cps") -> Prom:
    """A metric of the OpenTelemetry collector, which knows no run."""
    inner = f"{function}({metric}[{window()}])" if function else value(f"{metric}{{}}")
    labels = ("instance", *by)
    return raw(f"sum by ({', '.join(labels)}) ({inner})", labels=labels, unit=unit)


_FRESH = Row(
    "Does the run report?",
    (
        state_timeline_panel(
            "states",
            "State of the run",
            "One lane: running, then finished. Vanished: it lived when it was last scraped, over a minute before.",
            ("{{instance}}", state()),
            states=STATES,
            width=12,
            height=6,
        ),
        stat_panel(
            "ages",
            "Age of the newest …",
            "Seconds, while the run goes on. A heartbeat comes every 10 s.",
            ("heartbeat", over_arms("min", age("esper.last_heartbeat.timestamp"))),
            ("event", over_arms("min", age("esper.relay.last_record.timestamp"))),
            ("epoch", over_arms("min", age("tolaria.last_epoch.timestamp"))),
            ("optimizer step", over_arms("min", age("tolaria.last_update.timestamp"))),
            ("policy update", over_arms("min", age("tamiyo.last_update.timestamp"))),
            ("round", over_arms("min", age("tolaria.last_batch.timestamp"))),
            decimals=0,
            width=12,
            height=6,
            empty="the log is of esper-lite, which has no heartbeats, or has no such event yet",
        ),
        timeseries_panel(
            "lag",
            "Lag of the relay",
            "Under a second. If it grows, the relay reads more slowly than the run writes.",
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
            empty="the log is of esper-lite, which has no heartbeats",
        ),
    ),
)

_COMPLETE = Row(
    "Is anything missing?",
    (
        stat_panel(
            "losses",
            "Dropped, since the run began",
            "Every number is 0.",
            ("lost events", counted("esper.log.lost_events")),
            ("rejected lines", counted("esper.telemetry.rejected_records")),
            ("unknown fields", counted("esper.telemetry.unknown_fields")),
            ("mistyped fields", counted("esper.telemetry.mistyped_fields")),
            ("folded values", counted("esper.telemetry.folded_values")),
            ("cut spans", counted("esper.relay.cut_spans")),
            ("refused items", counted("esper.relay.refused")),
            ("sensor faults", counted("esper.sensor.faults")),
            ("failed reads", counted("esper.relay.read_errors")),
            width=24,
            limits=ANY_IS_BAD,
            unit="none",
            horizontal=True,
        ),
        timeseries_panel(
            "events",
            "Events by type",
            "All types continue; a type that stops has lost its producer.",
            rate("esper.events", "event_type"),
            width=12,
        ),
        table_panel(
            "nonfinite",
            "Values that were not finite",
            "Empty. A field that is here was NaN or infinite and is not exported until it is a number again.",
            ("values", only_where(last("esper.telemetry.nonfinite", "event_type", "field", agg="sum"), "> 0")),
            names={"event_type": "event"},
            width=12,
            empty="every value was finite",
        ),
        table_panel(
            "rejected",
            "Rejected lines of the log",
            "Empty.",
            ("lines", only_where(last("esper.telemetry.rejected_records", "reason", agg="sum"), "> 0")),
            height=6,
            width=12,
            empty="every line became an event",
        ),
        events_table_panel(
            "faults",
            "Losses and faults",
            "Empty.",
            events("TELEMETRY_LOSS", "SENSOR_FAULT", "XID_ERROR"),
            {"esper_event_type": "event", "severity_text": "severity", "Line": "what"},
            width=12,
            height=6,
            empty="nothing was lost and no sensor failed",
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
            empty="the relay sends nothing by OTLP, because OTEL_EXPORTER_OTLP_ENDPOINT is not set",
        ),
        timeseries_panel(
            "export_failures",
            "Failed and refused exports",
            "0. Failed exports are retried; refused items are lost.",
            ("failed {{signal}}", increase("esper.relay.export_failures", "signal")),
            ("refused {{signal}}", increase("esper.relay.refused", "signal")),
            empty="the relay sends nothing by OTLP, because OTEL_EXPORTER_OTLP_ENDPOINT is not set",
        ),
        timeseries_panel(
            "scrapes",
            "Scrapes: series and time",
            "Series level off: the attributes are bounded. A scrape takes milliseconds.",
            ("series", _scraped("scrape_samples_scraped")),
            ("time", _scraped("scrape_duration_seconds", "s")),
            second={"time": "s"},
            unit="short",
            empty="its metrics come through a collector, so that it is not scraped",
        ),
    ),
)

_COLLECTOR = Row(
    "Does the collector pass everything on? (needs one)",
    (
        timeseries_panel(
            "collector_flow",
            "Collector: received and sent",
            "The collector sends everything that it receives.",
            ("received spans", _collector("otelcol_receiver_accepted_spans")),
            ("received points", _collector("otelcol_receiver_accepted_metric_points")),
            ("received log events", _collector("otelcol_receiver_accepted_log_records")),
            ("sent spans", _collector("otelcol_exporter_sent_spans")),
            ("sent points", _collector("otelcol_exporter_sent_metric_points")),
            ("sent log events", _collector("otelcol_exporter_sent_log_records")),
            width=12,
            empty=_NO_COLLECTOR,
        ),
        timeseries_panel(
            "collector_losses",
            "Collector: refused and lost",
            "0. The relay retries refused items; items that could not be queued are lost.",
            ("refused spans", _collector("otelcol_receiver_refused_spans")),
            ("refused log events", _collector("otelcol_receiver_refused_log_records")),
            ("not queued spans", _collector("otelcol_exporter_enqueue_failed_spans")),
            ("not queued log events", _collector("otelcol_exporter_enqueue_failed_log_records")),
            ("over the memory limit spans", _collector("otelcol_processor_memory_limiter_refused_spans")),
            ("rounds decided too early", _collector(_DROPPED_EARLY)),
            ("failed spans", _collector("otelcol_exporter_send_failed_spans")),
            ("failed log events", _collector("otelcol_exporter_send_failed_log_records")),
            width=12,
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
            width=12,
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
            width=12,
            empty=_NO_COLLECTOR,
        ),
    ),
    is_open=False,
)

_INSIDE = Row(
    "What do the log and the sensors cost?",
    (
        timeseries_panel(
            "log_growth",
            "Events accepted by the log",
            "Steady while the run goes on.",
            ("events", last("esper.log.emitted_events", agg="sum")),
            empty=_NO_HEARTBEATS,
        ),
        timeseries_panel(
            "log_size",
            "Bytes of the log",
            "Far fewer bytes wait than were written.",
            ("written", last("esper.log.written_size", agg="sum")),
            ("waiting", last("esper.log.pending_size", agg="sum")),
            log=True,
            empty=_NO_HEARTBEATS,
        ),
        stat_panel(
            "log_open",
            "Log open for",
            "As long as the run.",
            ("open for", last("esper.log.uptime", agg="max")),
            width=8,
            height=8,
            empty=_NO_HEARTBEATS,
        ),
        timeseries_panel(
            "driver_calls",
            "Calls of the GPU driver",
            "Steady; no call is made more often than the figures need.",
            ("{{call}}", rate("esper.nvml.calls", "call")),
            empty=_NO_GPU,
        ),
        timeseries_panel(
            "driver_time",
            "Time in calls of the GPU driver",
            "A few per cent of one processor at most.",
            ("{{call}}", rate("esper.nvml.call.time", "call")),
            stacked=True,
            empty=_NO_GPU,
        ),
        timeseries_panel(
            "untimed_passes",
            "Passes that were not timed",
            "None, or a few while a CUDA graph is captured.",
            ("{{device}}", rate("tolaria.step_phase.unmeasured", "device")),
            empty=_NO_GPU,
        ),
    ),
    is_open=False,
)

TELEMETRY: Final = Board(
    domain="esper",
    title="Telemetry health",
    description="Is what the other dashboards show fresh, complete and delivered.",
    rows=(_FRESH, _COMPLETE, _DELIVERED, _COLLECTOR, _INSIDE),
)
