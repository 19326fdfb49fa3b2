"""Arguments are refused by name; variables that are not understood are reported, and training starts all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esper_otel
from esper_otel.events import Decision
from esper_otel.runtime import telemetry as runtime
from esper_otel.runtime.relay_environment import checked_environment
from tests.runtime.runs import settings_of, types_of


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"buffer_bytes": 0}, ValueError),
        ({"buffer_bytes": "1"}, TypeError),
        ({"segment_bytes": -1}, ValueError),
        ({"segment_bytes": 1.5}, TypeError),
        ({"heartbeat_s": -1}, ValueError),
        ({"heartbeat_s": float("nan")}, ValueError),
        ({"linger_s": -5}, ValueError),
        ({"linger_s": 1e10}, ValueError),
        ({"linger_s": "30"}, TypeError),
        ({"compress": "no"}, TypeError),
        ({"relay": 1}, TypeError),
        ({"run_id": 123}, TypeError),
        ({"run_id": b"x"}, TypeError),
        ({"run_id": ""}, ValueError),
        ({"run_id": "../x"}, ValueError),
        ({"run_id": "latest"}, ValueError),
        ({"run_id": "Latest"}, ValueError),
        ({"run_id": "prometheus_targets.json"}, ValueError),
        ({"run_id": "run.json"}, ValueError),
        ({"run_id": "events.jsonl"}, ValueError),
        ({"run_id": "x.jsonl.gz"}, ValueError),
        ({"rank": "0"}, TypeError),
        ({"rank": True}, TypeError),
        ({"rank": -1}, ValueError),
        ({"rank": 2, "world_size": 2}, ValueError),
        ({"world_size": 0}, ValueError),
        ({"group_id": None}, TypeError),
        ({"group_id": ""}, ValueError),
        ({"telemetry_dir": b"tel"}, TypeError),
        ({"telemetry_dir": "a\0b"}, ValueError),
    ],
)
def test_a_wrong_argument_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], kind: type[Exception]
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(kind, match=rf"\b{next(iter(arguments))}\b"):
        esper_otel.configure(**arguments)
    assert runtime.Process.active is None
    assert [] == list(tmp_path.iterdir())


def test_a_tilde_that_no_shell_expanded_is_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert tmp_path / "runs" == settings_of({"ESPER_OTEL_TELEMETRY_DIR": "~/runs"}).telemetry_dir
    assert tmp_path / "runs" == settings_of({}, telemetry_dir=Path("~/runs")).telemetry_dir
    assert (
        Path("~nobody-of-this-name/runs").absolute()
        == settings_of({}, telemetry_dir="~nobody-of-this-name/runs").telemetry_dir
    )


def test_numbers_of_numpy_are_numbers() -> None:
    settings = settings_of({}, rank=np.int64(1), world_size=np.int32(2), run_id="r", linger_s=np.float32(1.5))

    assert (1, 2, 1.5) == (settings.rank, settings.world_size, settings.linger_s)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ESPER_OTEL_STABILITY_OPT_IN", "new", "must be one of domains, domains/dup, legacy"),
        ("ESPER_OTEL_LINGER", "soon", "must be a number of seconds"),
        ("ESPER_OTEL_LINGER", "1e10", "must be a number of seconds"),
        ("ESPER_OTEL_LINGER", "nan", "must be a number of seconds"),
        ("ESPER_OTEL_SHUTDOWN_WAIT", "-1", "must be a number of seconds"),
        ("RANK", "first", "must be a whole number"),
        ("RANK", "²", "must be a whole number"),
        ("RANK", "3", "must be in 0..0 for a WORLD_SIZE of 1"),
        ("WORLD_SIZE", "0", "must be a whole number, 1 or more"),
        ("LOCAL_RANK", "x", "must be a whole number"),
        ("ESPER_OTEL_RUN_ID", "../x", "is ignored: it must be 1 to 128 letters"),
        ("ESPER_OTEL_RUN_ID", "latest", "that name is taken"),
    ],
)
def test_a_variable_that_is_not_understood_is_reported_and_training_is_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(name, value)
    run_id = None if name == "ESPER_OTEL_RUN_ID" else "r"
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, run_id=run_id, relay=False)
    esper_otel.emit(Decision(env_id=1))
    esper_otel.shutdown()

    lines = capfd.readouterr().err.splitlines()
    assert [True] == [name in line and message in line for line in lines]
    assert 2 == telemetry.counters["written"]


@pytest.mark.parametrize("name", ["ESPER_OTEL_RELAY", "OTEL_SDK_DISABLED"])
def test_a_switch_that_is_neither_on_nor_off_has_its_default(name: str) -> None:
    settings = settings_of({name: "perhaps"})

    assert settings.relay
    assert [True] == [
        problem.startswith(f"{name}='perhaps' is ignored: it must be 0 or 1") for problem in settings.problems
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "9464x"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "70000"),
        ("OTEL_EXPORTER_PROMETHEUS_HOST", "my host"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "maybe"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "1.5"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "x"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("ESPER_OTEL_WANDB", "yes"),
        ("ESPER_OTEL_GPUS", "0,1"),
    ],
)
def test_the_relay_is_started_without_a_variable_that_would_end_it(name: str, value: str) -> None:
    kept, problems = checked_environment({"PATH": "/bin", name: value})

    assert {"PATH": "/bin"} == kept
    assert 1 == len(problems)
    assert f"{name}={value!r} must be " in problems[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector 4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:99999"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", f"/{'x' * 300}.pem"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_METRICS_EXPORTER", "statsd"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
    ],
)
def test_a_variable_that_the_relay_handles_itself_is_reported_and_kept(name: str, value: str) -> None:
    kept, problems = checked_environment({name: value})

    assert {name: value} == kept
    assert 1 == len(problems)
    assert problems[0].startswith(name)
    assert "must be" in problems[0]
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_HEADERS": "a=b,authorization=Bearer%20x"},
        {"OTEL_EXPORTER_PROMETHEUS_HOST": "::1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"},
        {"OTEL_METRICS_EXPORTER": "otlp, prometheus", "OTEL_METRIC_EXPORT_INTERVAL": "1500.5"},
        {"OTEL_RESOURCE_ATTRIBUTES": "team=a,host.name=b", "OTEL_EXPORTER_OTLP_TIMEOUT": "10000"},
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "", "ESPER_OTEL_WANDB": "Offline", "OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_variables_that_are_right_are_not_reported(variables: dict[str, str]) -> None:
    assert (variables, []) == checked_environment(variables)


def test_a_setting_that_does_not_exist_is_reported() -> None:
    _, problems = checked_environment({"ESPER_OTEL_LINGR": "3"})

    assert [True] == ["ESPER_OTEL_LINGR is ignored" in problem for problem in problems]


def test_a_current_directory_that_is_gone_does_not_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    telemetry = esper_otel.configure(run_id="r", relay=False)
    esper_otel.emit(Decision(env_id=1))
    esper_otel.shutdown(timeout_s=0.2)

    assert telemetry.counters["dropped.write_failed"] > 0


def test_ranks_of_several_nodes_without_a_common_name_are_recorded_by_node() -> None:
    node = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    first, second = (settings_of({**node, "RANK": rank}) for rank in "01")

    assert first.run_id == second.run_id
    assert [True] == ["give run_id=… or set ESPER_OTEL_RUN_ID" in problem for problem in first.problems]


def test_training_without_threads_goes_on_unrecorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import threading

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        telemetry = esper_otel.configure(telemetry_dir=tmp_path, run_id="r", relay=False)
        esper_otel.emit(Decision(env_id=1))
    assert "run r is not recorded: RuntimeError: can't start new thread" in capfd.readouterr().err
    assert {"emitted": 1, "written": 0, "dropped.write_failed": 1} == telemetry.counters

    again = esper_otel.configure(telemetry_dir=tmp_path, run_id="r", relay=False)
    esper_otel.shutdown()
    assert {"RUN_ENDED": 1} == types_of(again.run_dir)


def test_arguments_go_before_the_environment() -> None:
    environment = {"RANK": "1", "WORLD_SIZE": "4", "ESPER_OTEL_RUN_ID": "env", "ESPER_OTEL_LINGER": "7"}

    assert (1, 4, "env", 7.0) == tuple(
        getattr(settings_of(environment), name) for name in ("rank", "world_size", "run_id", "linger_s")
    )
    assert (2, "arg", 0.0) == tuple(
        getattr(settings_of(environment, rank=2, run_id="arg", linger_s=0.0), name)
        for name in ("rank", "run_id", "linger_s")
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"OTEL_SDK_DISABLED": "true"}, False),
        ({"ESPER_OTEL_RELAY": "0"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "ESPER_OTEL_RUN_ID": "x"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "ESPER_OTEL_RUN_ID": "x"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "ESPER_OTEL_RUN_ID": "x"}, False),
        ({"ESPER_OTEL_RELAY_OF": "1"}, False),
    ],
)
def test_the_first_process_of_a_node_starts_the_relay(environment: dict[str, str], expected: bool) -> None:
    assert expected is settings_of(environment).relay


def test_ranks_of_one_node_agree_on_a_run_id() -> None:
    env = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500"}

    ids = {settings_of({**env, "RANK": rank, "LOCAL_RANK": rank}).run_id for rank in ("0", "1")}
    assert 1 == len(ids)
    assert ids != {settings_of({**env, "RANK": "0", "TORCHELASTIC_RESTART_COUNT": "1"}).run_id}
