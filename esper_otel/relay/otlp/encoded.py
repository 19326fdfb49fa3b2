"""The official exporters of spans and log events, fed with data encoded here.

Everything but the encoding stays theirs: endpoints, headers, certificates, compression, timeouts. They offer no way in
for encoded items, so that their ``export`` (HTTP) and ``_translate_data`` (gRPC) are replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from esper_otel.relay.encoding.wire import Heads, varint
from esper_otel.relay.traces.build import SCOPE
from esper_otel.relay.traces.encode import encode_span

HTTP_STATUS: Final = "http.response.status_code"
_REQUEST_FIELD: Final = b"\x0a"  # resource_logs or resource_spans = 1 of an Export…ServiceRequest
_SCOPE_ITEMS: Final = b"\x12"  # scope_logs or scope_spans = 2 of a Resource…
_ITEM_HEADS: Final = Heads(lambda length: b"\x12" + varint(length))  # log_records or spans = 2 of a Scope…


class OtlpRequest:
    """Requests of one resource and the relay's scope; those of spans and of log events have the same field numbers."""

    def __init__(self, resource: Resource) -> None:
        """Encode ``resource`` and the scope once."""
        empty = ReadableLogRecord(LogRecord(), resource, SCOPE)
        [resource_logs] = encode_logs([empty]).resource_logs
        [scope_logs] = resource_logs.scope_logs
        del scope_logs.log_records[:]
        self._scope = scope_logs.SerializeToString()
        del resource_logs.scope_logs[:]
        self._resource = resource_logs.SerializeToString()

    def encode(self, items: Sequence[bytes]) -> bytes:
        """An ``ExportLogsServiceRequest`` of ``LogRecord`` or an ``ExportTraceServiceRequest`` of ``Span`` messages."""
        fields = [part for item in items for part in (_ITEM_HEADS[len(item)], item)]
        size = len(self._scope) + sum(map(len, fields))
        head = self._resource + _SCOPE_ITEMS + varint(size)
        # one join: a request has megabytes, and each level of messages would copy all of it
        return b"".join((_REQUEST_FIELD, varint(len(head) + size), head, self._scope, *fields))


class HttpLogBytesExporter(HttpLogExporter):
    """Sends encoded log records over HTTP."""

    def __init__(self, request: OtlpRequest, **arguments: Any) -> None:
        """``arguments`` are the official exporter's."""
        super().__init__(**arguments)
        self._request = request

    def export(self, batch: Sequence[bytes]) -> LogRecordExportResult:  # type: ignore[override]  # bytes, that is the point
        """Send ``LogRecord`` messages; the outcome is reported as by the official exporter."""
        is_sent = not self._shutdown and _post(self, len(batch), self._request.encode(batch))
        return LogRecordExportResult.SUCCESS if is_sent else LogRecordExportResult.FAILURE


class HttpSpanBytesExporter(HttpSpanExporter):
    """Sends spans over HTTP."""

    def __init__(self, request: OtlpRequest, **arguments: Any) -> None:
        """``arguments`` are the official exporter's."""
        super().__init__(**arguments)
        self._request = request

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send ``spans``; the outcome is reported as by the official exporter."""
        is_sent = not self._shutdown and _post(self, len(spans), self._request.encode([*map(encode_span, spans)]))
        return SpanExportResult.SUCCESS if is_sent else SpanExportResult.FAILURE


class GrpcLogBytesExporter(GrpcLogExporter):
    """Sends encoded log records over gRPC."""

    def __init__(self, request: OtlpRequest, **arguments: Any) -> None:
        """``arguments`` are the official exporter's."""
        super().__init__(**arguments)
        self._request = request

    def _translate_data(self, data: Sequence[bytes]) -> ExportLogsServiceRequest:  # type: ignore[override]
        request: ExportLogsServiceRequest = ExportLogsServiceRequest.FromString(self._request.encode(data))
        return request


class GrpcSpanBytesExporter(GrpcSpanExporter):
    """Sends spans over gRPC."""

    def __init__(self, request: OtlpRequest, **arguments: Any) -> None:
        """``arguments`` are the official exporter's."""
        super().__init__(**arguments)
        self._request = request

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        encoded = self._request.encode([*map(encode_span, data)])
        request: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(encoded)
        return request


def _post(exporter: HttpLogExporter | HttpSpanExporter, items: int, body: bytes) -> bool:
    with exporter._metrics.export_operation(items) as result:
        sent = exporter._client.export(body)
        if not sent.success:
            result.error = sent.error
            result.error_attrs = None if sent.status_code is None else {HTTP_STATUS: sent.status_code}
    return bool(sent.success)
