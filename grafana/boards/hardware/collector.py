"""Telemetry health: the OpenTelemetry collector, where there is one."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import timeseries_panel
from grafana.queries.promql import Prom, raw
from grafana.queries.truth import value, window

_NO_COLLECTOR: Final = "nothing is scraped from a collector"
_DROPPED_EARLY: Final = "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"


def _collector(metric: str, *by: str, function: str = "rate", unit: str = "cps") -> Prom:
    """A metric of the OpenTelemetry collector, which knows no run."""
    inner = f"{function}({metric}[{window()}])" if function else value(f"{metric}{{}}")
    labels = ("instance", *by)
    return raw(f"sum by ({', '.join(labels)}) ({inner})", labels=labels, unit=unit)


COLLECTOR: Final = Row(
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
