"""Partial success: what the official exporters ignore in the response to an accepted request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from esper_otel.relay.otlp.attempts import SignalExporter

_RESPONSES: Final[dict[str, tuple[type[Any], str]]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}


def partial_success_hook(signal: str, delivery: SignalExporter) -> Callable[..., None]:
    """A response hook that reads what the official exporters ignore: accepted requests with dropped items."""
    response_type, field = _RESPONSES[signal]

    def read(response: requests.Response, *_args: object, **_kwargs: object) -> None:
        form = response.headers.get("content-type", "")
        if not response.ok or not response.content or form.startswith("text/"):
            return
        try:
            if "json" in form:
                told = msgspec.json.decode(response.content).get("partialSuccess") or {}
                rejected, message = int(told.get(_in_json(field), 0)), str(told.get("errorMessage", ""))
            else:
                partial = response_type.FromString(response.content).partial_success
                rejected, message = int(getattr(partial, field)), partial.error_message
        except Exception as error:  # an answer that is not protobuf is the receiver's fault, not a loss
            delivery.last_error = f"{delivery.endpoint}: unreadable response: {error}"
            return
        if rejected or message:
            delivery.partial_success(rejected, message)

    return read


def _in_json(field: str) -> str:
    """Name of a field of protobuf in JSON: ``rejectedSpans``."""
    first, *more = field.split("_")
    return first + "".join(map(str.capitalize, more))
