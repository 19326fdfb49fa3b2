"""An OTLP/gRPC receiver that keeps every request unchanged, with its time of arrival."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final

import grpc
import msgspec

METHODS: Final = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
"""The gRPC method of each signal."""

_SIGNALS: Final = {method: signal for signal, method in METHODS.items()}


class Request(msgspec.Struct, frozen=True):
    """One export: seconds since the receiver began to listen, ``metrics``, ``traces`` or ``logs``, and the message."""

    at_s: float
    signal: str
    body: bytes


class Capture(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC ships no types
    """Listens on a free port of 127.0.0.1 until its block is left.

    Attributes:
        endpoint: what OTEL_EXPORTER_OTLP_ENDPOINT has to be.
        requests: what came, in order of arrival.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._began = time.monotonic()
        self._pool = ThreadPoolExecutor(max_workers=4)
        self._server = grpc.server(self._pool, options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((self,))
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Capture:
        """Begin to listen."""
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.stop(grace=1).wait()
        self._pool.shutdown()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of one method: takes and returns bytes, so that nothing is decoded during a measurement."""
        signal = _SIGNALS.get(handler_call_details.method)
        return None if signal is None else grpc.unary_unary_rpc_method_handler(self._keep(signal))

    def _keep(self, signal: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def export(body: bytes, _: grpc.ServicerContext) -> bytes:
            self.requests.append(Request(time.monotonic() - self._began, signal, body))
            return b""  # an empty message: everything was accepted

        return export
