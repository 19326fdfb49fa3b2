"""A real OTLP receiver for tests: HTTP with protobuf and gRPC on free local ports, which can also misbehave."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.waiting import wait_for

Mode = Literal["ok", "unavailable", "refuse", "too_large", "missing", "hang", "partial"]
"""unavailable: 503 with Retry-After, or UNAVAILABLE. refuse: 400, or INVALID_ARGUMENT.
too_large: 413, or INVALID_ARGUMENT. missing: 404, or UNIMPLEMENTED. hang: no answer until closed.
partial: accepted, but one item of each request is said to be dropped."""

REQUESTS: Final[dict[str, Any]] = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}
RESPONSES: Final[dict[str, Any]] = {
    "traces": trace_service_pb2.ExportTraceServiceResponse,
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
}
REJECTED: Final = {"traces": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}
STATUSES: Final = {"unavailable": 503, "refuse": 400, "too_large": 413, "missing": 404, "hang": 503}
INFLATE: Final[dict[str, Callable[[bytes], bytes]]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


class OtlpReceiver:
    """Receives OTLP until closed; use it as a context manager.

    Attributes:
        mode: how requests are answered; may be changed at any time.
        modes: the same for single signals.
        refuses: with mode ``refuse``, which requests are refused (all by default).
        requests: every accepted request in order, as (signal, decoded protobuf).
        headers: headers or metadata of every request, accepted or not, names in lower case.
    """

    def __init__(self) -> None:
        """Listen on two free ports of 127.0.0.1."""
        self.mode: Mode = "ok"
        self.modes: dict[str, Mode] = {}
        self.refuses: Callable[[Any], bool] = lambda request: True
        self.requests: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._http_thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._http_thread.start()
        self._pool = ThreadPoolExecutor(max_workers=4)
        self._grpc = grpc.server(self._pool)
        self._grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        _add_services(self, self._grpc)
        self._grpc.start()

    def __enter__(self) -> OtlpReceiver:
        """Already listening."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Stop listening and let hanging requests go."""
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()
        self._http_thread.join()
        self._grpc.stop(grace=0).wait()
        self._pool.shutdown()

    @property
    def http_endpoint(self) -> str:
        """Base URL for OTEL_EXPORTER_OTLP_ENDPOINT with http/protobuf."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def grpc_endpoint(self) -> str:
        """URL for OTEL_EXPORTER_OTLP_ENDPOINT with grpc."""
        return f"http://127.0.0.1:{self._grpc_port}"

    @property
    def spans(self) -> list[Span]:
        """Every accepted span, in order of arrival."""
        return [span for _, scope in self._scopes("traces", "resource_spans", "scope_spans") for span in scope.spans]

    @property
    def logs(self) -> list[LogRecord]:
        """Every accepted log record, in order of arrival."""
        return [log for _, scope in self._scopes("logs", "resource_logs", "scope_logs") for log in scope.log_records]

    @property
    def metrics(self) -> list[Metric]:
        """Every accepted metric, in order of arrival."""
        return [
            item for _, scope in self._scopes("metrics", "resource_metrics", "scope_metrics") for item in scope.metrics
        ]

    @property
    def resources(self) -> list[dict[str, Any]]:
        """Attributes of the resource of every accepted request."""
        with self._lock:
            requests = list(self.requests)
        return [attributes(group[0].resource) for _, request in requests for _, group in request.ListFields()]

    def _scopes(self, signal: str, resources: str, scopes: str) -> list[tuple[Any, Any]]:
        with self._lock:
            requests = [request for name, request in self.requests if name == signal]
        groups = [group for request in requests for group in getattr(request, resources)]
        return [(group.resource, scope) for group in groups for scope in getattr(group, scopes)]

    def answer(self, signal: str, request: Any, headers: dict[str, str]) -> tuple[Mode, Any]:
        """Take one request and say how to answer it: the mode in force and the response message."""
        with self._lock:
            self.headers.append(headers)
        mode = self.modes.get(signal, self.mode)
        if mode == "refuse" and not self.refuses(request):
            mode = "ok"
        if mode == "hang":
            self._closed.wait()
        if mode not in ("ok", "partial"):
            return mode, None
        with self._lock:
            self.requests.append((signal, request))
        response = RESPONSES[signal]()
        if mode == "partial":
            setattr(response.partial_success, REJECTED[signal], 1)
            response.partial_success.error_message = "one was too old"
        return mode, response


def attributes(holder: Any) -> dict[str, Any]:
    """Attributes of a protobuf span, log record, resource or link as plain values."""
    return {pair.key: _plain(pair.value) for pair in holder.attributes}


def wait_for_events(receiver: OtlpReceiver, lines: Iterable[dict[str, Any]]) -> None:
    """Wait until the event of each line of a log arrived; their number is not enough, since some may come twice."""
    expected = {line["event_id"] for line in lines}

    def arrived() -> bool:
        return len(receiver.logs) >= len(expected) and expected <= {
            attributes(log)["esper.event.id"] for log in receiver.logs
        }

    wait_for(arrived, "the delivery of every event")


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def _handler(receiver: OtlpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            signal = self.path.partition("?")[0].rsplit("/", 1)[-1]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inflate = INFLATE.get(self.headers.get("Content-Encoding", ""), bytes)
            headers = {name.lower(): value for name, value in self.headers.items()}
            mode, response = receiver.answer(signal, REQUESTS[signal].FromString(inflate(body)), headers)
            if response is None:
                self._reply(STATUSES[mode], b"")
            else:
                self._reply(200, response.SerializeToString())

        def _reply(self, status: int, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(body)))
                if status == 503:
                    self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            """Quiet."""

    return Handler


def _add_services(receiver: OtlpReceiver, server: grpc.Server) -> None:
    statuses = {
        "unavailable": grpc.StatusCode.UNAVAILABLE,
        "refuse": grpc.StatusCode.INVALID_ARGUMENT,
        "too_large": grpc.StatusCode.INVALID_ARGUMENT,
        "missing": grpc.StatusCode.UNIMPLEMENTED,
        "hang": grpc.StatusCode.UNAVAILABLE,
    }

    def service(base: type[Any], signal: str) -> Any:
        class Service(base):
            def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
                headers = {str(key).lower(): str(value) for key, value in context.invocation_metadata()}
                mode, response = receiver.answer(signal, request, headers)
                if response is None:
                    context.abort(statuses[mode], f"mode {mode}")
                return response

        return Service()

    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
        service(trace_service_pb2_grpc.TraceServiceServicer, "traces"), server
    )
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
        service(metrics_service_pb2_grpc.MetricsServiceServicer, "metrics"), server
    )
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
        service(logs_service_pb2_grpc.LogsServiceServicer, "logs"), server
    )
