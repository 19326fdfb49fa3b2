"""The official log exporters, given log events that are bytes already.

Everything but the encoding stays theirs: endpoints, headers, certificates, compression, timeouts. They offer no way in
for encoded records, so that their ``export`` (HTTP) and ``_translate_data`` (gRPC) are replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from esper_otel.relay.spans_build import SCOPE
from esper_otel.relay.wire import Heads, varint

HTTP_STATUS: Final = "http.response.status_code"
_REQUEST_FIELD: Final = b"\x0a"  # ExportLogsServiceRequest.resource_logs = 1
_SCOPE_LOGS: Final = b"\x12"  # ResourceLogs.scope_logs = 2
_RECORD_HEADS: Final = Heads(lambda length: b"\x12" + varint(length))  # ScopeLogs.log_records = 2


class LogRequest:
    """Requests of one resource."""

    def __init__(self, resource: Resource) -> None:
        """Encode ``resource`` and the relay's scope once."""
        empty = ReadableLogRecord(LogRecord(), resource, SCOPE)
        [resource_logs] = encode_logs([empty]).resource_logs
        [scope_logs] = resource_logs.scope_logs
        del scope_logs.log_records[:]
        self._scope = scope_logs.SerializeToString()
        del resource_logs.scope_logs[:]
        self._resource = resource_logs.SerializeToString()

    def encode(self, records: Sequence[bytes]) -> bytes:
        """An ``ExportLogsServiceRequest`` of ``LogRecord`` messages."""
        fields = [part for record in records for part in (_RECORD_HEADS[len(record)], record)]
        size = len(self._scope) + sum(map(len, fields))
        head = self._resource + _SCOPE_LOGS + varint(size)
        # one join: a request has megabytes, and each level of messages would copy all of it
        return b"".join((_REQUEST_FIELD, varint(len(head) + size), head, self._scope, *fields))


class HttpLogBytesExporter(HttpLogExporter):
    """Sends encoded records over HTTP."""

    def __init__(self, request: LogRequest, **arguments: Any) -> None:
        """``arguments`` are the official exporter's."""
        super().__init__(**arguments)
        self._request = request

    def export(self, batch: Sequence[bytes]) -> LogRecordExportResult:  # type: ignore[override]  # bytes, that is the point
        """Send ``LogRecord`` messages; how it went is reported as the official exporter does."""
        if self._shutdown:
            return LogRecordExportResult.FAILURE
        with self._metrics.export_operation(len(batch)) as result:
            sent = self._client.export(self._request.encode(batch))
            if sent.success:
                return LogRecordExportResult.SUCCESS
            result.error = sent.error
            result.error_attrs = None if sent.status_code is None else {HTTP_STATUS: sent.status_code}
        return LogRecordExportResult.FAILURE


class GrpcLogBytesExporter(GrpcLogExporter):
    """Sends encoded records over gRPC."""

    def __init__(self, request: LogRequest, **arguments: Any) -> None:
        """``arguments`` are the official exporter's."""
        super().__init__(**arguments)
        self._request = request

    def _translate_data(self, data: Sequence[bytes]) -> ExportLogsServiceRequest:  # type: ignore[override]
        request: ExportLogsServiceRequest = ExportLogsServiceRequest.FromString(self._request.encode(data))
        return request
