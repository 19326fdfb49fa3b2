"""OTLP export, configured by the standard ``OTEL_*`` variables alone.

The official exporters read headers, certificates and compression themselves; what is decided here is what
OpenTelemetry's SDK configurator would decide: which signals are exported and over which protocol. Without
an endpoint (or an explicit ``OTEL_*_EXPORTER=otlp``) nothing is sent: a laptop has no collector.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, ItemsView, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import requests
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from esper_otel.relay.otlp.attempts import SignalExporter
from esper_otel.relay.otlp.encoded import (
    GrpcLogBytesExporter,
    GrpcSpanBytesExporter,
    HttpLogBytesExporter,
    HttpSpanBytesExporter,
    OtlpRequest,
)
from esper_otel.relay.otlp.environment import (
    DELTA,
    certificate_problem,
    compression_problem,
    endpoint_of,
    endpoint_problem,
    not_honoured,
    share_of_traces,
    temporality_of,
    timeout_of,
    url_of,
    variable_of,
)
from esper_otel.relay.otlp.headers import BadHeaders, header_problem
from esper_otel.relay.otlp.http import OtlpSession
from esper_otel.relay.otlp.partial_success import partial_success_hook
from esper_otel.relay.traces.conventions import OURS, Conventions, conventions_of
from esper_otel.text.hosts import is_loopback
from esper_otel.text.redaction import redacted_text, redacted_url

HTTP: Final = "http/protobuf"
GRPC: Final = "grpc"
PAST_PROXIES: Final = (("grpc.enable_http_proxy", 0),)
"""Channel options for a receiver on this machine: gRPC would ask the proxy of the environment for it."""

DEFAULT_PROTOCOL: Final = HTTP
"""Default protocol, as the OTLP specification recommends."""

DISABLED: Final = frozenset({"true", "1", "yes", "on"})
"""Values of OTEL_SDK_DISABLED that start no relay either."""

SIGNALS: Final = ("traces", "metrics", "logs")

_TIMEOUT: Final = re.compile(r"OTEL_EXPORTER_OTLP_([A-Z]+_)?TIMEOUT")
_EXPORTER_NAMES: Final = {"otlp": None, "otlp_proto_http": HTTP, "otlp_proto_grpc": GRPC}
_CLASSES: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("traces", HTTP): HttpSpanBytesExporter,
    ("traces", GRPC): GrpcSpanBytesExporter,
    ("metrics", HTTP): HttpMetricExporter,
    ("metrics", GRPC): GrpcMetricExporter,
    ("logs", HTTP): HttpLogBytesExporter,
    ("logs", GRPC): GrpcLogBytesExporter,
}


class Exporters(msgspec.Struct, frozen=True, kw_only=True):
    """The exporters configured by the environment.

    Attributes:
        resource: the resource to stamp on what is exported.
        traces: exporter of ``ReadableSpan`` lists, None when traces are not exported.
        metrics: exporter of ``MetricsData``, or None.
        logs: exporter of lists of encoded ``LogRecord`` messages, or None.
        is_delta: whether counters and histograms are sent as what was added since the last time.
        share_of_traces: share of the traces that is sent, from 0 to 1.
        conventions: names of spans.
        problems: one sentence for each setting that was not understood.
        notes: one sentence for each setting that has no effect here.
    """

    resource: Resource
    traces: SignalExporter | None = None
    metrics: SignalExporter | None = None
    logs: SignalExporter | None = None
    is_delta: bool = False
    share_of_traces: float = 1.0
    conventions: Conventions = OURS
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, resource: Resource, of_logs: Mapping[str, str] | None = None) -> Exporters:
        """Build the exporters of the present environment; never raises, see ``problems``.

        ``of_logs``: attributes that the resource of log events has besides.
        """
        # Every failure is told by SignalExporter.last_error; the exporters would repeat it on stderr at each attempt.
        exporters_log = logging.getLogger("opentelemetry.exporter.otlp")
        exporters_log.addHandler(logging.NullHandler())
        exporters_log.propagate = False
        problems: list[str] = []
        headers = BadHeaders()
        resources = {"logs": resource.merge(Resource(of_logs))} if of_logs else {}
        built = {name: _build(name, os.environ, problems, resources.get(name, resource)) for name in SIGNALS}
        problems += headers.problems()
        is_delta, share = False, 1.0
        if any(built.values()):
            is_delta = temporality_of(os.environ, problems) == DELTA
            share = share_of_traces(os.environ, problems)
        return cls(
            resource=resource,
            conventions=conventions_of(os.environ, problems),
            is_delta=is_delta,
            share_of_traces=share,
            problems=tuple(problems),
            notes=tuple(not_honoured(os.environ if any(built.values()) else {})),
            **built,
        )

    @property
    def active(self) -> tuple[SignalExporter, ...]:
        """The exporters that exist."""
        return tuple(exporter for exporter in (self.traces, self.metrics, self.logs) if exporter is not None)

    def describe(self) -> str:
        """One line for the console: the destination of each signal."""
        if not self.active:
            return f"OTLP export is off: {_why_off(os.environ)}"
        return "OTLP export: " + ", ".join(f"{exporter.signal} to {exporter.endpoint}" for exporter in self.active)

    def stop(self) -> None:
        """Cancel every running export; later ones return False."""
        for exporter in self.active:
            exporter.stop()


def resource_from_env(defaults: Mapping[str, str | int]) -> Resource:
    """Resource of the relay: ``defaults``, overridden by OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.

    An empty value (of a variable that was not set where the other one was) overrides none: without an instance, say,
    runs could not be told apart.
    """
    given = {
        name: value
        for name, value in _items(OTELResourceDetector().detect())
        if str(value).strip() or name not in defaults
    }
    whole = Resource.create(dict(defaults)).merge(Resource(given))
    named = {**dict(_items(whole)), **conventions_of(os.environ, []).resource(dict(_items(whole)))}
    sendable = {_text(name): _text(value) if isinstance(value, str) else value for name, value in named.items()}
    return Resource(sendable, whole.schema_url)


def _items(resource: Resource) -> ItemsView[str, Any]:
    return resource.attributes.items()


def _text(value: str) -> str:
    """``value`` as text that can be sent: a variable may contain invalid UTF-8."""
    return value.encode("utf-8", "replace").decode()


def _why_off(env: Mapping[str, str]) -> str:
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() in DISABLED:
        return "OTEL_SDK_DISABLED is set"
    if any(endpoint_of(signal, env) for signal in SIGNALS):
        return "an endpoint is set, but every signal is switched off or could not be set up"
    return "no OTEL_EXPORTER_OTLP_ENDPOINT is set"


def otlp_protocol(signal: str, env: Mapping[str, str], problems: list[str]) -> str | None:
    """Protocol over which ``signal`` is exported, None if it is not; problems are added to ``problems``."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() in DISABLED:
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
    if named is None and not endpoint_of(signal, env):
        return None
    protocol_variable = variable_of(signal, "PROTOCOL", env)
    asked = env.get(protocol_variable, "").strip().lower()
    protocol = _EXPORTER_NAMES.get(named or "otlp") or asked or DEFAULT_PROTOCOL
    if protocol not in (HTTP, GRPC):
        problems.append(f"{protocol_variable}={protocol}: expected {HTTP} or {GRPC}, {signal} stay off")
        return None
    problem = (
        endpoint_problem(signal, env, is_http=protocol == HTTP)
        or certificate_problem(signal, env, is_http=protocol == HTTP)
        or compression_problem(signal, protocol, env)
        or header_problem(signal, env, is_http=protocol == HTTP)
    )
    if problem is not None:
        problems.append(f"{problem}, {signal} stay off")
        return None
    return protocol


def _build(signal: str, env: Mapping[str, str], problems: list[str], resource: Resource) -> SignalExporter | None:
    protocol = otlp_protocol(signal, env, problems)
    if protocol is None:
        return None
    session = _session(signal, env) if protocol == HTTP else None
    arguments = _arguments(signal, session, protocol, env) | {"timeout": timeout_of(signal, env, problems)}
    if signal != "metrics":
        arguments["request"] = OtlpRequest(resource)
    try:
        with _without_timeouts():
            exporter = _CLASSES[signal, protocol](**arguments)
    except Exception as error:  # the exporters raise their own types for a bad variable
        why = redacted_text(str(error))
        problems.append(f"OTLP export of {signal} over {protocol} could not be set up and stays off: {why}")
        return None
    endpoint = endpoint_of(signal, env) or ("http://localhost:4318" if protocol == HTTP else "localhost:4317")
    hint = ""
    if protocol == HTTP and ":4317" in endpoint:
        hint = " (4317 is usually the gRPC port: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc)"
    if protocol == GRPC and "://" not in endpoint and env.get(variable_of(signal, "INSECURE", env), "") != "true":
        hint = " (an address without http:// means TLS)"
    delivery = SignalExporter(signal, redacted_url(endpoint), exporter, hint)
    if session is not None:
        session.hooks["response"].append(partial_success_hook(signal, delivery))
    return delivery


def _arguments(signal: str, session: requests.Session | None, protocol: str, env: Mapping[str, str]) -> dict[str, Any]:
    """Arguments for the exporters beside their own variables."""
    arguments: dict[str, Any] = {}
    if session is not None:
        arguments["session"] = session
    if protocol == HTTP:
        arguments["endpoint"] = url_of(signal, env)
    if protocol == GRPC:
        arguments["endpoint"] = endpoint_of(signal, env) or None
        if not env.get("OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES"):
            # The relay tries again by itself: left alone, one call waits 10 s, also on a message that is too large.
            arguments["retryable_error_codes"] = "CANCELLED"
        if is_loopback(_host_of(endpoint_of(signal, env) or "localhost")):
            arguments["channel_options"] = PAST_PROXIES
    return arguments


@contextmanager
def _without_timeouts() -> Iterator[None]:
    """Hide the variables of timeouts: the gRPC exporters read them despite their arguments, and fail on a bad one."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if _TIMEOUT.fullmatch(name)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _host_of(endpoint: str) -> str:
    """The host of a URL, or of ``host:port`` as gRPC takes it too."""
    try:
        return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname or ""
    except ValueError:
        return ""


def _session(signal: str, env: Mapping[str, str]) -> requests.Session | None:
    """A session with readable responses, or None if a credential provider brings its own."""
    provider = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"
    own_provider = f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{signal.upper()}_CREDENTIAL_PROVIDER"
    return None if env.get(provider) or env.get(own_provider) else OtlpSession()
