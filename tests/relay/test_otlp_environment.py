"""What libraries would take from the environment by themselves, and what the OTLP export does instead."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from esper_otel.relay.otlp.environment import is_sampled, not_honoured, share_of_traces, timeout_of, url_of
from esper_otel.relay.otlp.exporters import Exporters
from esper_otel.relay.otlp.http import OtlpSession, proxies_of
from esper_otel.relay.otlp.metrics_export import interval_from_env
from esper_otel.relay.prometheus.endpoint import Endpoint, address_from_env
from esper_otel.relay.prometheus.exposition import FamilyCollector
from esper_otel.runtime.relay_environment import checked_environment
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, relay, scrape, training
from tests.relay.test_otlp import RESOURCE, log, metrics, span
from tests.waiting import PATIENCE_S

NOBODY = "http://127.0.0.1:9"
BATCHES = {"traces": lambda: [span(1)], "logs": lambda: [log()], "metrics": metrics}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_") or name.lower().endswith(("_proxy", "_ca_bundle")):
            monkeypatch.delenv(name)


def sent(resource: Resource = RESOURCE) -> dict[str, bool]:
    """Whether each signal went out."""
    exporters = Exporters.from_env(resource)
    found = {exporter.signal: exporter.export(BATCHES[exporter.signal](), 10.0) for exporter in exporters.active}
    exporters.stop()
    return found


@pytest.mark.parametrize("entry", ["default", "machine 127.0.0.1", "machine localhost"])
def test_a_netrc_does_not_take_the_place_of_the_headers_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, entry: str
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"{entry} login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20right")

    assert {"traces": True, "metrics": True, "logs": True} == sent()
    assert {"Bearer right"} == {headers["authorization"] for headers in receiver.headers}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "grpc_proxy", "https_proxy"])
def test_a_receiver_on_this_machine_is_reached_past_every_proxy(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, variable: str, protocol: str
) -> None:
    monkeypatch.setenv(variable, NOBODY)
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)

    assert {"traces": True, "metrics": True, "logs": True} == sent()


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("http://collector.example:4318", "", NOBODY),
        ("http://collector.example:4318", ".example", None),
        ("http://127.0.0.1:4318", "", None),
        ("http://127.8.9.1:4318", "", None),
        ("http://[::1]:4318", "", None),
        ("http://[::ffff:127.0.0.1]:4318", "", None),
        ("http://LocalHost.:4318", "", None),
        ("http://0.0.0.0:4318", "", None),
        ("http://localhost.example:4318", "", NOBODY),
        ("http://127.0.0.1.example:4318", "", NOBODY),
    ],
)
def test_a_proxy_is_used_for_other_machines_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, proxy: str | None
) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOBODY)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    assert proxy == proxies_of(url).get("http")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_are_those_of_otel_s_variable_before_those_of_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    used: list[object] = []

    def request(_: requests.Session, *args: object, **kwargs: object) -> requests.Response:
        used.append(kwargs["verify"])
        response = requests.Response()
        response.status_code = 200
        return response

    monkeypatch.setattr(requests.Session, "request", request)
    monkeypatch.setenv(variable, "/bundle.pem")
    session = OtlpSession()
    session.request("POST", "https://collector.example")
    session.verify = "/otel.pem"
    session.request("POST", "https://collector.example")
    monkeypatch.delenv(variable)
    session.verify = True
    session.request("POST", "https://collector.example")

    assert ["/bundle.pem", "/otel.pem", True] == used


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("", "/v1/logs"),
        ("/", "/v1/logs"),
        ("/otlp", "/otlp/v1/logs"),
        ("/otlp/?api-key=abc", "/otlp/v1/logs?api-key=abc"),
        ("?a=1&b=%2F", "/v1/logs?a=1&b=%2F"),
        ("/otlp#part", "/otlp/v1/logs"),
    ],
)
def test_a_signal_is_sent_below_the_path_of_the_common_endpoint_with_its_query(endpoint: str, path: str) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://collector:4318{endpoint}"}

    assert f"http://collector:4318{path}" == url_of("logs", env)


def test_a_query_reaches_the_receiver_and_is_not_shown(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver) -> None:
    asked: list[str] = []
    send = requests.Session.send
    monkeypatch.setattr(
        requests.Session, "send", lambda self, request, **more: asked.append(request.url) or send(self, request, **more)
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{receiver.http_endpoint}/otlp?api-key=abc")
    exporters = Exporters.from_env(RESOURCE)
    assert exporters.traces is not None
    exporters.traces.export([span(1)], 10.0)
    exporters.stop()

    assert [f"{receiver.http_endpoint}/otlp/v1/traces?api-key=abc"] == asked
    assert "abc" not in exporters.describe() + exporters.traces.last_error


def test_an_endpoint_of_a_signal_s_own_is_taken_as_it_is() -> None:
    assert "http://c/x?k=v" == url_of("logs", {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c/x?k=v"})


@pytest.mark.parametrize(
    ("text", "seconds", "said"),
    [
        ("", 10.0, 0),
        ("2", 2.0, 0),
        ("0.5", 0.5, 0),
        ("10", 10.0, 0),
        ("30", 10.0, 1),
        ("500", 0.5, 0),
        ("10000", 10.0, 0),
        ("10_000", 10.0, 0),
        ("60000", 10.0, 1),
        ("1e99", 10.0, 1),
        ("inf", 10.0, 1),
        ("10s", 10.0, 1),
        ("0", 10.0, 1),
        ("-5", 10.0, 1),
        ("nan", 10.0, 1),
    ],
)
def test_a_timeout_in_ms_or_s_bounds_an_attempt_by_10_s(text: str, seconds: float, said: int) -> None:
    problems: list[str] = []

    assert seconds == timeout_of("logs", {"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": text}, problems)
    assert said == len(problems)
    assert all(problem.startswith(f"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT={text}: ") for problem in problems)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"])
def test_a_bad_timeout_is_said_once_and_everything_is_exported(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "10s")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)

    assert {"traces": True, "metrics": True, "logs": True} == sent()
    assert [f"{variable}=10s: expected a number of ms above 0; 10 s is used"] == list(
        Exporters.from_env(RESOURCE).problems
    )
    assert "10s" == os.environ[variable]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_attempt_is_broken_off_in_time_whatever_the_unit_of_the_timeout(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str
) -> None:
    receiver.mode = "hang"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1500")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    logs = Exporters.from_env(RESOURCE).logs
    assert logs is not None
    began = time.monotonic()

    assert not logs.export([log()], 30.0)
    assert time.monotonic() - began < 10
    assert "no response yet" not in logs.last_error


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL=http/json: expected"),
        (
            {"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"},
            "OTEL_EXPORTER_OTLP_COMPRESSION=zstd: expected none, gzip, deflate",
        ),
        (
            {"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_COMPRESSION=deflate: expected none, gzip,",
        ),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}, ""),
    ],
)
def test_why_nothing_is_exported_is_said_as_it_is(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    exporters = Exporters.from_env(RESOURCE)

    assert () == exporters.active
    assert all(problem.startswith(said) for problem in exporters.problems)
    assert "OTLP export is off: an endpoint is set, but every signal is switched off or could not be set up" == (
        exporters.describe()
    )


@pytest.mark.parametrize(
    ("sampler", "argument", "share", "said"),
    [
        ("", "", 1.0, 0),
        ("parentbased_always_on", "", 1.0, 0),
        ("always_off", "", 0.0, 0),
        ("traceidratio", "0.25", 0.25, 0),
        ("parentbased_traceidratio", "0.25", 0.25, 0),
        ("traceidratio", "", 1.0, 0),
        ("traceidratio", "25%", 1.0, 1),
        ("traceidratio", "2", 1.0, 1),
        ("xray", "", 1.0, 1),
    ],
)
def test_the_sampler_of_the_environment_decides_the_share_of_traces(
    sampler: str, argument: str, share: float, said: int
) -> None:
    problems: list[str] = []
    env = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}

    assert share == share_of_traces(env, problems)
    assert said == len(problems)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_trace_is_sampled_where_opentelemetry_s_sampler_would(share: float) -> None:
    chance = random.Random(7)
    sampler = TraceIdRatioBased(share)
    for _ in range(500):
        trace_id = chance.getrandbits(128)
        kept = sampler.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE

        assert kept == is_sampled(trace_id, share)


@pytest.mark.parametrize(
    "name",
    [
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "OTEL_CONFIG_FILE",
    ],
)
def test_a_variable_without_effect_is_named_once_with_the_reason(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    monkeypatch.setenv(name, "5")
    exporters = Exporters.from_env(RESOURCE)

    assert () == exporters.problems
    [note] = exporters.notes
    assert note.startswith(f"{name} is ignored: ")


LIMITS = ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT"]


@pytest.mark.parametrize("value", ["many", "-1", "1.5", " "])
def test_a_bad_limit_is_one_line_and_metrics_are_served(tmp_path: Path, value: str) -> None:
    with training(tmp_path, "--rounds", "2") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    limits = {**dict.fromkeys(LIMITS, value), "OTEL_PYTHON_CONTEXT": "odd", "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "x"}
    with relay(tmp_path / "run", "--linger", "30", **limits) as server:
        text = scrape(announced_url(tmp_path / "run", server.pid))
        server.terminate()
        _, said = server.communicate(timeout=PATIENCE_S)

    assert "esper_events_total" in text
    assert "Traceback" not in said
    assert 0 == server.returncode


ADDRESS = "http://HOST:PORT or https://HOST:PORT"


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4318",
        "127.0.0.1:4318",
        "collector",
        "http://",
        "http:///v1",
        "http://[::1",
        "http://h:99999",
        "http://h:port",
        "'http://h:4318'",
        "grpc://h:4317",
        "unix:///run/otel",
    ],
)
def test_an_endpoint_to_which_http_cannot_send_is_one_problem_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, endpoint: str
) -> None:
    monkeypatch.setenv(variable, endpoint)
    exporters = Exporters.from_env(RESOURCE)

    assert exporters.traces is None
    assert f"{variable}={endpoint}: expected {ADDRESS}, traces stay off" in exporters.problems


@pytest.mark.parametrize("endpoint", ["http://[::1", "http://h:99999", "http://h:port"])
def test_an_endpoint_to_which_grpc_cannot_send_is_one_problem_by_name(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
    exporters = Exporters.from_env(RESOURCE)

    assert (None, 1) == (exporters.traces, len(exporters.problems))
    assert exporters.problems[0].startswith(f"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={endpoint}: expected http://HOST")


@pytest.mark.parametrize("protocol", ["http/protobuf", " HTTP/Protobuf", "grpc", "GRPC "])
def test_spaces_around_an_endpoint_and_capitals_of_a_protocol_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str
) -> None:
    endpoint = receiver.grpc_endpoint if "grpc" in protocol.lower() else receiver.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f" {endpoint}\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)

    assert {"traces": True, "metrics": True, "logs": True} == sent()


@pytest.mark.parametrize(
    ("protocol", "headers", "said"),
    [
        ("http/protobuf", "authorization=Bearer%20hunter2%0Ax", "a line break"),
        ("http/protobuf", "x=%E6%BC%A2", "a letter that cannot be sent"),
        ("http/protobuf", "x=hunter2%00", "cannot be sent"),
        ("grpc", "authorization=Bearer%20hunter2%0Ax", "a line break"),
        ("grpc", "x=%C3%A9", "a letter that cannot be sent"),
        ("grpc", "x-bin=hunter2", "a name ends in -bin"),
    ],
)
def test_a_header_that_cannot_be_sent_is_a_problem_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, protocol: str, headers: str, said: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", f"a=b,{headers}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    exporters = Exporters.from_env(RESOURCE)

    assert (None, 1) == (exporters.traces, len(exporters.problems))
    assert exporters.problems[0].startswith("OTEL_EXPORTER_OTLP_TRACES_HEADERS: ")
    assert said in exporters.problems[0]
    assert "hunter2" not in exporters.problems[0]


def test_a_grpc_address_without_a_scheme_says_why_it_fails(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.grpc_endpoint.removeprefix("http://"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    logs = Exporters.from_env(RESOURCE).logs
    assert logs is not None

    assert not logs.export([log()], 10.0)
    assert "(an address without http:// means TLS)" in logs.last_error


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_HEADER", "OTEL_EXPORTER_OTLP_SPAN_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACE_HEADERS"]
)
def test_a_variable_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    monkeypatch.setenv(name, "hunter2")

    assert (f"{name} is ignored: OpenTelemetry knows no variable of this name",) == Exporters.from_env(RESOURCE).notes


@pytest.mark.parametrize("variable", ["ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE"])
@pytest.mark.parametrize("signal", ["", "TRACES_", "LOGS_"])
def test_a_variable_that_exists_is_not_called_unknown(variable: str, signal: str) -> None:
    assert [] == list(not_honoured({f"OTEL_EXPORTER_OTLP_{signal}{variable}": "x"}))


@pytest.mark.parametrize("text", ["true", " TRUE", "1", "yes", "on"])
def test_every_way_to_switch_the_sdk_off_that_configure_takes_stops_the_export(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    monkeypatch.setenv("OTEL_SDK_DISABLED", text)
    exporters = Exporters.from_env(RESOURCE)

    assert ((), "OTLP export is off: OTEL_SDK_DISABLED is set") == (exporters.active, exporters.describe())


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("what", ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
def test_a_file_of_tls_that_cannot_be_used_is_a_problem_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str, what: str, content: bytes | None
) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_TRACES_{what}", str(path))
    exporters = Exporters.from_env(RESOURCE)

    assert exporters.traces is None
    problem = f"OTEL_EXPORTER_OTLP_TRACES_{what}={path}: expected a file in PEM format that can be read"
    assert (f"{problem}, traces stay off",) == exporters.problems


def test_half_a_client_s_identity_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(tmp_path / "key.pem"))

    [problem] = Exporters.from_env(RESOURCE).problems
    assert "OTEL_EXPORTER_OTLP_CLIENT_KEY is set without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" in problem


def test_files_of_tls_are_of_no_interest_without_tls(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent")

    assert {"traces": True, "metrics": True, "logs": True} == sent()


def test_spaces_around_a_port_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", " 9470\n")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", " ::1 ")

    assert ("::1", 9470) == address_from_env()


@pytest.mark.parametrize("host", ["nohost.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_one_is_named_by_its_variable(host: str) -> None:
    with pytest.raises(OSError, match=f"OTEL_EXPORTER_PROMETHEUS_HOST={host}: no address of this machine"):
        Endpoint(FamilyCollector(list, {}), host, 0)


@pytest.mark.parametrize("text", ["inf", "nan", "0", "-5", "soon"])
def test_an_interval_that_never_ends_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", text)
    with pytest.raises(ValueError, match=f"OTEL_METRIC_EXPORT_INTERVAL='{text}': expected"):
        interval_from_env()


def test_a_relay_gets_values_without_the_spaces_that_were_disregarded_in_their_check() -> None:
    variables = {"OTEL_EXPORTER_PROMETHEUS_PORT": " 9470 ", "ESPER_OTEL_WANDB": " offline", "OTHER": " x "}

    assert {name: text if name == "OTHER" else text.strip() for name, text in variables.items()} == (
        checked_environment(variables)[0]
    )
