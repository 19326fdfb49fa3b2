"""Checks of the relay's variables at the start of a run, so that the user sees mistakes immediately.

The relay reports to a file, and some mistakes would end it. It is started without a variable of that kind. Others it
handles itself by leaving a signal out, and keeps.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from esper_otel.archive.address import address_of
from esper_otel.log.locks.processes import variables_at_start
from esper_otel.runtime.variables import VARIABLES
from esper_otel.text.redaction import redacted_url

Check = Callable[[str], str | None]
"""Returns the expected value, None if the value is valid."""

_LARGEST_PORT: Final = 65_535
_SHOWN: Final = 80

_SET_BY_DISTRIBUTION: Final = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
}
"""Defaults that opentelemetry-distro writes into the environment: with them the relay would serve no ``/metrics``."""


class _Rule(msgspec.Struct, frozen=True):
    """One kind of variable.

    Attributes:
        names: pattern of whole names.
        check: what is wrong with a value.
        instead: what applies when it is wrong.
        is_dropped: whether the relay must not see a wrong value.
        is_shown: whether the value may be repeated in a message.
    """

    names: re.Pattern[str]
    check: Check
    instead: str
    is_dropped: bool = True
    is_shown: bool = True


def checked_environment(variables: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """``variables`` for the relay, and one message for each invalid one."""
    foreign = _of_distribution(variables)
    kept = {name: text for name, text in variables.items() if name not in foreign}
    problems: list[str] = []
    for name, text in dict(kept).items():
        if not name.startswith(("OTEL_", "ESPER_OTEL_")) or not text.strip():
            continue
        rule = next((rule for rule in _RULES if rule.names.fullmatch(name)), None)
        expected = rule.check(text.strip()) if rule is not None else None
        kept[name] = text if rule is None else text.strip()
        if rule is not None and expected is not None:
            shown = f"={redacted_url(text.strip())[:_SHOWN]!r}" if rule.is_shown else ""
            problems.append(f"{name}{shown} must be {expected}. {rule.instead}")
            if rule.is_dropped:
                del kept[name]
    return kept, [*problems, *_unknown(variables)]


def _of_distribution(variables: Mapping[str, str]) -> set[str]:
    """Names of the variables that opentelemetry-distro has set in this process, for an SDK that the relay is not."""
    if "opentelemetry.distro" not in sys.modules:
        return set()
    given = variables_at_start() or ()
    return {name for name, text in _SET_BY_DISTRIBUTION.items() if variables.get(name) == text and name not in given}


def _unknown(variables: Mapping[str, str]) -> Iterator[str]:
    for name in variables:
        if name.startswith("ESPER_OTEL_") and name not in OWN_VARIABLES:
            yield f"{name} is ignored: unknown setting. Known settings: {', '.join(OWN_VARIABLES)}"


OWN_VARIABLES: Final = tuple(variable.name for variable in VARIABLES if variable.name.startswith("ESPER_OTEL_"))
"""Variables of our own."""


def _whole(least: int, most: int | None = None) -> Check:
    expected = f"a whole number from {least} on" if most is None else f"a whole number from {least} to {most}"

    def check(text: str) -> str | None:
        is_number = text.isascii() and text.isdecimal() and len(text) < 20
        return None if is_number and int(text) >= least and (most is None or int(text) <= most) else expected

    return check


def _above_zero(unit: str) -> Check:
    def check(text: str) -> str | None:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        return None if 0 < number < float("inf") else f"a number of {unit} above 0"

    return check


def _share(text: str) -> str | None:
    try:
        return None if 0 <= float(text) <= 1 else "a number from 0 to 1"
    except ValueError:
        return "a number from 0 to 1"


def _one_of(*choices: str) -> Check:
    return lambda text: None if text.lower() in choices else f"one of {', '.join(choices)}"


def _list_of(*choices: str) -> Check:
    def check(text: str) -> str | None:
        names = [part.strip().lower() for part in text.split(",") if part.strip()]
        return None if all(name in choices for name in names) else f"one or more of {', '.join(choices)}"

    return check


def _endpoint(text: str) -> str | None:
    expected = "an address such as http://localhost:4318"
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        has_host = bool(parts.hostname) and (parts.port is None or 0 < parts.port <= _LARGEST_PORT)
    except ValueError:
        return expected
    return None if has_host and parts.scheme in {"", "http", "https"} and " " not in text else expected


def _archive(text: str) -> str | None:
    try:
        is_whole = not address_of(text).run
    except ValueError:
        is_whole = False
    return None if is_whole else "an address such as s3://bucket/prefix, without a key or a query"


def _host(text: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9._:%-]+", text) else "a host name or an address"


def _readable_file(text: str) -> str | None:
    try:
        is_readable = Path(text).is_file() and os.access(text, os.R_OK)
    except OSError:  # a directory on the way may not be searched, or the name is too long
        is_readable = False
    return None if is_readable else "the path of a file that can be read"


def _pairs(text: str) -> str | None:
    entries = [entry for entry in text.split(",") if entry.strip()]
    return None if all(re.match(r"\s*[^=\s][^=]*=", entry) for entry in entries) else "name=value pairs with commas"


def _header_pairs(text: str) -> str | None:
    entries = [entry for entry in text.split(",") if entry.strip()]
    return None if all(re.match(r"\s*[^=:\s]+\s*[=:]", entry) for entry in entries) else "name=value pairs with commas"


def _rule(names: str, check: Check, instead: str, *, is_dropped: bool = True, is_shown: bool = True) -> _Rule:
    return _Rule(re.compile(names), check, instead, is_dropped, is_shown)


_OF_SIGNAL: Final = "OTEL_EXPORTER_OTLP_(?:(?:TRACES|METRICS|LOGS)_)?"
_DEFAULT: Final = "The default applies."
_ALL_TRACES: Final = "All traces are exported."
_SAMPLERS: Final = ("always_on", "always_off", "traceidratio")
_OFF: Final = "What it concerns is not exported."

_RULES: Final = (
    _rule("OTEL_EXPORTER_PROMETHEUS_PORT", _whole(0, _LARGEST_PORT), "Port 9464 or the next free one is used."),
    _rule("OTEL_EXPORTER_PROMETHEUS_HOST", _host, "127.0.0.1 is taken."),
    _rule("OTEL_METRIC_EXPORT_INTERVAL", _above_zero("milliseconds"), "15000 applies."),
    _rule("OTEL_METRICS_EXPORTER", _list_of("prometheus", "otlp", "none", "otlp_proto_http", "otlp_proto_grpc"), _OFF,
          is_dropped=False),
    _rule("OTEL_(?:TRACES|LOGS)_EXPORTER", _list_of("otlp", "none", "otlp_proto_http", "otlp_proto_grpc"), _OFF,
          is_dropped=False),
    _rule(f"{_OF_SIGNAL}ENDPOINT", _endpoint, _OFF, is_dropped=False),
    _rule(f"{_OF_SIGNAL}PROTOCOL", _one_of("http/protobuf", "grpc"), _OFF, is_dropped=False),
    _rule(f"{_OF_SIGNAL}TIMEOUT", _above_zero("milliseconds"), _DEFAULT),
    _rule(f"{_OF_SIGNAL}COMPRESSION", _one_of("none", "gzip", "deflate"), _OFF, is_dropped=False),
    _rule(f"{_OF_SIGNAL}(?:CERTIFICATE|CLIENT_KEY|CLIENT_CERTIFICATE)", _readable_file, _OFF, is_dropped=False),
    _rule(f"{_OF_SIGNAL}INSECURE", _one_of("true", "false"), _DEFAULT),
    _rule(f"{_OF_SIGNAL}HEADERS", _header_pairs, "Invalid entries are ignored.",
          is_dropped=False, is_shown=False),
    _rule("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", _one_of("cumulative", "delta", "lowmemory"), _DEFAULT),
    _rule("OTEL_TRACES_SAMPLER", _one_of(*_SAMPLERS, *(f"parentbased_{name}" for name in _SAMPLERS)), _ALL_TRACES),
    _rule("OTEL_TRACES_SAMPLER_ARG", _share, _ALL_TRACES),
    _rule("OTEL_RESOURCE_ATTRIBUTES", _pairs, "The entries that are wrong are left out.",
          is_dropped=False, is_shown=False),
    _rule("OTEL_(?:SPAN_|EVENT_|LINK_|LOGRECORD_)?(?:ATTRIBUTE|EVENT|LINK)_(?:COUNT|VALUE_LENGTH)_LIMIT", _whole(0),
          _DEFAULT),
    _rule("OTEL_SDK_DISABLED", _one_of("true", "false", "1", "0", "yes", "no", "on", "off"), "false applies."),
    _rule("ESPER_OTEL_WANDB", _one_of("off", "offline", "online"), "off applies."),
    _rule("ESPER_OTEL_SEMCONV_OPT_IN", _one_of("rl", "rl/dup"), "Names stay as they are."),
    _rule("ESPER_OTEL_ARCHIVE", _archive, "The run is not archived.", is_shown=False),
    _rule("ESPER_OTEL_LOGS", _one_of("all", "warnings", "sampled"), "All log events are sent."),
    _rule("ESPER_OTEL_LOGS_EVERY", _whole(1, 1_000_000_000), "100 applies."),
    _rule("ESPER_OTEL_METRICS", _one_of("all", "summary"), "All metrics are exported."),
    _rule("ESPER_OTEL_ALERTS", _one_of("true", "false", "1", "0", "yes", "no", "on", "off"), "0 applies."),
    _rule("ESPER_OTEL_ALERT_WEBHOOK", _endpoint, "Findings are not sent.", is_shown=False),
    _rule("ESPER_OTEL_GPUS", _one_of("all", "none"), "The GPUs of the run are sampled."),
)  # fmt: skip
"""The first rule whose pattern matches a name applies."""
