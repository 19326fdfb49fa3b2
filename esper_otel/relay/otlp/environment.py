"""Standard variables that the official exporters interpret differently from the specification, or not at all.

Values decided here are passed to the exporters as arguments. Variables that are set but ignored are reported once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from esper_otel.log.opening import read_whole
from esper_otel.relay.sdk_environment import BAD_LIMITS
from esper_otel.text.redaction import redacted_url

_PEM: Final = b"-----BEGIN "
_MAX_PEM_BYTES: Final = 16 * 1024 * 1024

SCHEMES: Final = ("http", "https")

DEFAULT_TIMEOUT_S: Final = 10.0
LONGEST_ATTEMPT_S: Final = 10.0
"""Bound of one attempt: an endpoint that hangs must not hold up its signal for longer. The relay tries again."""

SECONDS_BELOW: Final = 100.0
"""OTEL_EXPORTER_OTLP_TIMEOUT is in ms by the specification and in s in OpenTelemetry's Python SDK. Nobody means less
than 100 ms, nor that one attempt takes 100 s."""

COMPRESSIONS: Final = {"http/protobuf": ("none", "gzip", "deflate"), "grpc": ("none", "gzip")}
"""Compressions of the exporters by protocol; unset and empty mean none."""

CUMULATIVE: Final = "cumulative"
DELTA: Final = "delta"
LOW_MEMORY: Final = "lowmemory"
TEMPORALITY: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"

SAMPLER: Final = "OTEL_TRACES_SAMPLER"
SAMPLER_ARG: Final = "OTEL_TRACES_SAMPLER_ARG"
_TRACE_IDS: Final = 1 << 64

_KNOWN: Final = (
    r"(?:(?:TRACES|METRICS|LOGS)_)?"
    r"(?:ENDPOINT|PROTOCOL|HEADERS|TIMEOUT|COMPRESSION|CERTIFICATE|CLIENT_KEY|CLIENT_CERTIFICATE|INSECURE)"
    r"|METRICS_(?:TEMPORALITY_PREFERENCE|DEFAULT_HISTOGRAM_AGGREGATION)"
)

_NOT_HONOURED: Final = (
    (r"OTEL_(BSP|BLRP)_[A-Z_]+", "the relay sends batches of its own, from the log"),
    (r"OTEL_[A-Z_]+_LIMIT", "the relay has limits of its own: 96 attributes of a log event, 1,000 spans of a trace"),
    (r"OTEL_METRIC_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT bounds an attempt"),
    (r"OTEL_METRICS_EXEMPLAR_FILTER", "exemplars are those of rounds, whatever is sampled"),
    (r"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "each histogram has bounds that were chosen for it"),
    (r"OTEL_(EXPERIMENTAL_)?CONFIG_FILE", "the relay is configured by variables and options alone"),
    (rf"OTEL_EXPORTER_OTLP_(?!(?:{_KNOWN})$)[A-Z_]+", "OpenTelemetry knows no variable of this name"),
)
"""Variables that have no effect, and why. A default value is not worth a word."""

_DEFAULTS: Final = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram"}


def variable_of(signal: str, what: str, env: Mapping[str, str]) -> str:
    """Name of the variable that decides: the signal's own where it is set, else the common one."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}"
    return own if env.get(own) else f"OTEL_EXPORTER_OTLP_{what}"


def endpoint_of(signal: str, env: Mapping[str, str]) -> str:
    """Endpoint of ``signal``, its own before the common one; empty if neither is set."""
    return env.get(variable_of(signal, "ENDPOINT", env), "").strip()


def endpoint_problem(signal: str, env: Mapping[str, str], *, is_http: bool) -> str | None:
    """Problem with the endpoint, to which nothing could be sent."""
    endpoint = endpoint_of(signal, env)
    if not endpoint:
        return None
    try:
        parts = urlsplit(endpoint)
        is_good = parts.port != 0 and not (is_http and (parts.scheme not in SCHEMES or not parts.hostname))
    except ValueError:
        is_good = False
    expected = "http://HOST:PORT or https://HOST:PORT" + ("" if is_http else ", or HOST:PORT over TLS")
    return None if is_good else f"{variable_of(signal, 'ENDPOINT', env)}={redacted_url(endpoint)}: expected {expected}"


def certificate_problem(signal: str, env: Mapping[str, str], *, is_http: bool) -> str | None:
    """Problem with the files of TLS, which gRPC's exporters would do without after a word in their own log."""
    if endpoint_of(signal, env).lower().startswith("http://"):
        return None
    named = [variable_of(signal, what, env) for what in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")]
    paths = [(variable, env.get(variable, "").strip()) for variable in named]
    for variable, path in paths:
        if path and not _is_pem(Path(path)):
            return f"{variable}={path}: expected a file in PEM format that can be read"
    (key, has_key), (certificate, has_certificate) = ((variable, bool(path)) for variable, path in paths[1:])
    if has_certificate != has_key and not (is_http and has_certificate):
        return f"{key if has_key else certificate} is set without {certificate if has_key else key}"
    return None


def _is_pem(path: Path) -> bool:
    try:
        return _PEM in read_whole(path, _MAX_PEM_BYTES)
    except OSError:
        return False


def url_of(signal: str, env: Mapping[str, str]) -> str:
    """HTTP address of ``signal``: its own endpoint unchanged, or its path below the common one, query kept."""
    endpoint = endpoint_of(signal, env)
    if env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
        return endpoint
    scheme, host, path, query, _ = urlsplit(endpoint or "http://localhost:4318")
    return urlunsplit((scheme, host, f"{path.rstrip('/')}/v1/{signal}", query, ""))


def timeout_of(signal: str, env: Mapping[str, str], problems: list[str]) -> float:
    """Time that one attempt may take, in s."""
    variable = variable_of(signal, "TIMEOUT", env)
    text = env.get(variable, "").strip()
    if not text:
        return DEFAULT_TIMEOUT_S
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number > 0:
        _add(problems, f"{variable}={text}: expected a number of ms above 0; {DEFAULT_TIMEOUT_S:g} s is used")
        return DEFAULT_TIMEOUT_S
    seconds = number if number < SECONDS_BELOW else number / 1000
    if seconds > LONGEST_ATTEMPT_S:
        _add(problems, f"{variable}={text}: one attempt takes at most {LONGEST_ATTEMPT_S:g} s; it is retried")
    return min(seconds, LONGEST_ATTEMPT_S)


def compression_problem(signal: str, protocol: str, env: Mapping[str, str]) -> str | None:
    """Problem with the requested compression."""
    variable = variable_of(signal, "COMPRESSION", env)
    text = env.get(variable, "").strip()
    allowed = COMPRESSIONS[protocol]
    return f"{variable}={text}: expected {', '.join(allowed)}" if text and text.lower() not in allowed else None


def temporality_of(env: Mapping[str, str], problems: list[str]) -> str:
    """``cumulative`` or ``delta``: temporality of counters and histograms; ``lowmemory`` means the latter here."""
    text = env.get(TEMPORALITY, "").strip().lower()
    if text not in ("", CUMULATIVE, DELTA, LOW_MEMORY):
        _add(problems, f"{TEMPORALITY}={text}: expected cumulative, delta or lowmemory; metrics are sent as cumulative")
    return DELTA if text in (DELTA, LOW_MEMORY) else CUMULATIVE


def share_of_traces(env: Mapping[str, str], problems: list[str]) -> float:
    """Share of the traces that OTEL_TRACES_SAMPLER keeps, from 0 to 1. Rounds have no parents of other processes."""
    sampler = env.get(SAMPLER, "").strip().lower().removeprefix("parentbased_")
    if sampler in ("", "always_on"):
        return 1.0
    if sampler == "always_off":
        return 0.0
    if sampler != "traceidratio":
        _add(problems, f"{SAMPLER}={env[SAMPLER]}: only always_on, always_off and traceidratio; all traces are sent")
        return 1.0
    text = env.get(SAMPLER_ARG, "").strip() or "1"
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        _add(problems, f"{SAMPLER_ARG}={text}: expected a number from 0 to 1; all traces are sent")
        return 1.0
    return share


def is_sampled(trace_id: int, share: float) -> bool:
    """Return True if a trace is kept, decided like OpenTelemetry's sampler by ratio."""
    return trace_id & (_TRACE_IDS - 1) < round(share * _TRACE_IDS)


def not_honoured(env: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that is set and has no effect."""
    for name, value in sorted({**env, **BAD_LIMITS}.items()):
        reason = next((reason for pattern, reason in _NOT_HONOURED if re.fullmatch(pattern, name)), None)
        if reason and value.strip() and value.strip().lower() != _DEFAULTS.get(name):
            yield f"{name} is ignored: {reason}"


def _add(problems: list[str], text: str) -> None:
    if text not in problems:
        problems.append(text)
