"""OTLP export, configured by the standard ``OTEL_*`` variables alone.

The official exporters read endpoints, headers, certificates, timeouts and compression themselves; what is decided
here is what OpenTelemetry's SDK configurator would decide: which signals are exported and over which protocol. Without
an endpoint (or an explicit ``OTEL_*_EXPORTER=otlp``) nothing is sent: a laptop has no collector.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import requests
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from esper_otel.redaction import redacted_text, redacted_url
from esper_otel.relay.otlp_bytes import (
    GrpcLogBytesExporter,
    GrpcSpanBytesExporter,
    HttpLogBytesExporter,
    HttpSpanBytesExporter,
    OtlpRequest,
)
from esper_otel.relay.otlp_delivery import SignalExporter
from esper_otel.relay.otlp_headers import BadHeaders
from esper_otel.relay.otlp_http import OtlpSession

HTTP: Final = "http/protobuf"
GRPC: Final = "grpc"
DEFAULT_PROTOCOL: Final = HTTP
"""What the OTLP specification recommends when no protocol is named."""

SIGNALS: Final = ("traces", "metrics", "logs")

_EXPORTER_NAMES: Final = {"otlp": None, "otlp_proto_http": HTTP, "otlp_proto_grpc": GRPC}
_CLASSES: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("traces", HTTP): HttpSpanBytesExporter,
    ("traces", GRPC): GrpcSpanBytesExporter,
    ("metrics", HTTP): HttpMetricExporter,
    ("metrics", GRPC): GrpcMetricExporter,
    ("logs", HTTP): HttpLogBytesExporter,
    ("logs", GRPC): GrpcLogBytesExporter,
}
_RESPONSES: Final[dict[str, tuple[type[Any], str]]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}


class Exporters(msgspec.Struct, frozen=True, kw_only=True):
    """The exporters that the environment asks for.

    Attributes:
        resource: the resource to stamp on what is exported.
        traces: exporter of ``ReadableSpan`` lists, None when traces are not exported.
        metrics: exporter of ``MetricsData``, or None.
        logs: exporter of lists of encoded ``LogRecord`` messages, or None.
        problems: one sentence for each setting that was not understood; the signal is then not exported.
    """

    resource: Resource
    traces: SignalExporter | None = None
    metrics: SignalExporter | None = None
    logs: SignalExporter | None = None
    problems: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, resource: Resource) -> Exporters:
        """Build the exporters of the present environment; never raises, see ``problems``."""
        # Every failure is told by SignalExporter.last_error; the exporters would repeat it on stderr at each attempt.
        exporters_log = logging.getLogger("opentelemetry.exporter.otlp")
        exporters_log.addHandler(logging.NullHandler())
        exporters_log.propagate = False
        problems: list[str] = []
        headers = BadHeaders()
        built = {signal: _build(signal, os.environ, problems, resource) for signal in SIGNALS}
        problems += headers.problems()
        return cls(resource=resource, problems=tuple(problems), **built)

    @property
    def active(self) -> tuple[SignalExporter, ...]:
        """The exporters that exist."""
        return tuple(exporter for exporter in (self.traces, self.metrics, self.logs) if exporter is not None)

    def describe(self) -> str:
        """One line for the console: where each signal goes."""
        if not self.active:
            return "OTLP export is off: no OTEL_EXPORTER_OTLP_ENDPOINT is set"
        return "OTLP export: " + ", ".join(f"{exporter.signal} to {exporter.endpoint}" for exporter in self.active)

    def stop(self) -> None:
        """Break off every export that is running; later ones return False."""
        for exporter in self.active:
            exporter.stop()


def resource_from_env(defaults: Mapping[str, str | int]) -> Resource:
    """Resource of the relay: ``defaults``, overridden by OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME."""
    return Resource.create(dict(defaults)).merge(OTELResourceDetector().detect())


def otlp_protocol(signal: str, env: Mapping[str, str], problems: list[str]) -> str | None:
    """Protocol over which ``signal`` is exported, None when it is not; what is not understood goes to ``problems``."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter_variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = [name for name in (part.strip().lower() for part in env.get(exporter_variable, "").split(",")) if name]
    named = next((name for name in names if name in _EXPORTER_NAMES), None)
    if named is None and names:
        if names not in (["none"], ["prometheus"]):  # the scrape endpoint is not this module's
            problems.append(
                f"{exporter_variable}={','.join(names)}: only otlp and none are supported, {signal} stay off"
            )
        return None
    if named is None and not _endpoint_variable(signal, env):
        return None
    protocol_variable = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    if not env.get(protocol_variable):
        protocol_variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = _EXPORTER_NAMES.get(named or "otlp") or env.get(protocol_variable, "").strip() or DEFAULT_PROTOCOL
    if protocol not in (HTTP, GRPC):
        problems.append(f"{protocol_variable}={protocol}: expected {HTTP} or {GRPC}, {signal} stay off")
        return None
    return protocol


def _endpoint_variable(signal: str, env: Mapping[str, str]) -> str | None:
    """Value of the variable that names the endpoint of ``signal``, its own before the common one."""
    return env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")


def _build(signal: str, env: Mapping[str, str], problems: list[str], resource: Resource) -> SignalExporter | None:
    protocol = otlp_protocol(signal, env, problems)
    if protocol is None:
        return None
    session = _session(signal, env) if protocol == HTTP else None
    arguments = _arguments(session, protocol, env)
    if signal != "metrics":
        arguments["request"] = OtlpRequest(resource)
    try:
        exporter = _CLASSES[signal, protocol](**arguments)
    except Exception as error:  # the exporters raise their own types for a bad variable
        why = redacted_text(str(error))
        problems.append(f"OTLP export of {signal} over {protocol} could not be set up and stays off: {why}")
        return None
    endpoint = _endpoint_variable(signal, env) or ("http://localhost:4318" if protocol == HTTP else "localhost:4317")
    hint = ""
    if protocol == HTTP and ":4317" in endpoint:
        hint = " (4317 is usually the gRPC port: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc)"
    delivery = SignalExporter(signal, redacted_url(endpoint), exporter, hint)
    if session is not None:
        session.hooks["response"].append(_partial_success_hook(signal, delivery))
    return delivery


def _arguments(session: requests.Session | None, protocol: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What the exporters are told beside their own variables."""
    if session is not None:
        return {"session": session}
    if protocol == GRPC and not env.get("OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES"):
        # The relay tries again by itself: left alone, one call waits 10 s, also on a message that is too large.
        return {"retryable_error_codes": "CANCELLED"}
    return {}


def _session(signal: str, env: Mapping[str, str]) -> requests.Session | None:
    """A session whose answers can be read, or None where a credential provider brings its own."""
    provider = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"
    own_provider = f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{signal.upper()}_CREDENTIAL_PROVIDER"
    return None if env.get(provider) or env.get(own_provider) else OtlpSession()


def _partial_success_hook(signal: str, delivery: SignalExporter) -> Callable[..., None]:
    """A response hook that reads what the official exporters ignore: accepted, but some items were dropped."""
    response_type, rejected_field = _RESPONSES[signal]

    def read(response: requests.Response, *_args: object, **_kwargs: object) -> None:
        if response.status_code != requests.codes.ok or "protobuf" not in response.headers.get("content-type", ""):
            return
        try:
            partial = response_type.FromString(response.content).partial_success
        except Exception as error:  # an answer that is not protobuf is the receiver's fault, not a loss
            delivery.last_error = f"{delivery.endpoint}: unreadable answer: {error}"
            return
        rejected = int(getattr(partial, rejected_field))
        if rejected or partial.error_message:
            delivery.partial_success(rejected, partial.error_message)

    return read
