"""Telemetry health: freshness, completeness and delivery of the data behind the other dashboards."""

from __future__ import annotations

from typing import Final

from grafana.boards.hardware.collector import COLLECTOR
from grafana.layout.board import Board, Row
from grafana.panels.kinds import ANY_IS_BAD, stat_panel, timeseries_panel
from grafana.panels.states import state_timeline_panel
from grafana.panels.tables import events_table_panel, table_panel
from grafana.queries.logql import events
from grafana.queries.promql import Prom, age, counted, increase, last, only_where, over_arms, rate, raw, state
from grafana.queries.truth import STATES, value

_NO_HEARTBEATS: Final = "esper-lite's log has no heartbeats."
_NO_GPU: Final = "no GPU is measured"
_CHOSEN: Final = 'job=~"$job", instance=~"$instance"'


def _scraped(metric: str, unit: str = "short") -> Prom:
    """Prometheus' own metric about its scrapes of the run."""
    return raw(f"max by (instance) ({value(f'{metric}{{{_CHOSEN}}}')})", labels=("instance",), unit=unit)


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
            width=24,
            beside=True,
        ),
        table_panel(
            "nonfinite",
            "Values that were not finite",
            "Empty, but for an explained variance, which has no value where all returns are alike. A field that is "
            "here was NaN or infinite and is not exported until it is a number again.",
            ("values", only_where(last("esper.telemetry.nonfinite", "event_type", "field", agg="sum"), "> 0")),
            names={"event_type": "event"},
            units={"values": "none"},
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
            "As many as are produced. ESPER_OTEL_LOGS leaves out log events on purpose; SQL shows them.",
            ("{{signal}}", rate("esper.relay.exported", "signal")),
            ("{{signal}} left out", rate("esper.relay.left_out", "signal")),
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
            log_above=1,
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
    rows=(_FRESH, _COMPLETE, _DELIVERED, COLLECTOR, _INSIDE),
)
