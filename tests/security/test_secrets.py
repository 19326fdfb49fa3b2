"""Tokens stay where they were put: in the environment, not in files, messages and errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import esper_otel
from esper_otel.redaction import redacted_arguments, redacted_text, redacted_url
from esper_otel.relay.otlp import Exporters, resource_from_env
from tests.relay.processes import relay
from tests.security.logs import ended_run

ADDRESS = "http://bob:hunter2@127.0.0.1:9"


@pytest.mark.parametrize(
    ("given_arguments", "shown"),
    [
        (["train.py", "--api-key=hunter2"], ["train.py", "--api-key=***"]),
        (["--wandb_key", "hunter2", "--lr", "1"], ["--wandb_key", "***", "--lr", "1"]),
        (["logger.apiKey=hunter2"], ["logger.apiKey=***"]),
        (["--HF_TOKEN", "hunter2"], ["--HF_TOKEN", "***"]),
        (["--proxy", "http://bob:hunter2@proxy:80/"], ["--proxy", "http://***@proxy:80/"]),
        (["bob:hunter2@proxy"], ["***@proxy"]),
        (["--use-auth", "--rounds", "3"], ["--use-auth", "--rounds", "3"]),
        (["--max-tokens", "7", "--monkey=banana"], ["--max-tokens", "7", "--monkey=banana"]),
    ],
)
def test_arguments_that_are_secret_by_their_name_are_hidden(given_arguments: list[str], shown: list[str]) -> None:
    assert shown == redacted_arguments(given_arguments)


@given(st.lists(st.text(max_size=30), max_size=8))
def test_every_argument_has_its_place_in_what_is_shown(arguments: list[str]) -> None:
    assert len(arguments) == len(redacted_arguments(arguments))


@given(st.text(max_size=200))
def test_redacting_takes_any_text(text: str) -> None:
    redacted_text(text, {"OTEL_EXPORTER_OTLP_HEADERS": text})
    redacted_url(text)


@pytest.mark.parametrize(
    "headers", ["api-key=hunter2", "Authorization: Bearer hunter2", "a=b,authorization=Bearer%20hunter2"]
)
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_a_header_that_a_library_repeats_is_hidden(variable: str, headers: str) -> None:
    said = redacted_text("metadata was invalid: [('api-key', 'hunter2')]", {variable: headers})

    assert "hunter2" not in said


def test_run_json_does_not_hold_a_token_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--token", "hunter2", "--lr=1"])
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, run_id="run", relay=False)
    esper_otel.shutdown()

    text = (telemetry.run_dir / "run.json").read_text()
    assert ["train.py", "--token", "***", "--lr=1"] == json.loads(text)["argv"]
    assert "hunter2" not in text


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    "headers",
    ["authorization=Bearer%20hunter2", "Authorization: Bearer hunter2", "api-key=hunter2%0Ahunter2", "é=hunter2"],
)
def test_no_exporter_shows_a_password_or_a_token(monkeypatch: pytest.MonkeyPatch, protocol: str, headers: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ADDRESS if protocol == "grpc" else f"{ADDRESS}/in?token=hunter2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    exporters = Exporters.from_env(resource_from_env({}))
    said = [exporters.describe(), *exporters.problems, *(exporter.endpoint for exporter in exporters.active)]
    if exporters.logs is not None:
        assert not exporters.logs.export([b""], 10.0)
        said.append(exporters.logs.last_error)
    exporters.stop()

    assert "127.0.0.1:9" in "".join(said) or exporters.problems
    assert "hunter2" not in "".join(said)


def test_neither_the_console_of_a_relay_nor_a_file_of_its_run_holds_one(tmp_path: Path) -> None:
    run = ended_run(tmp_path / "run")
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{ADDRESS}/in?token=hunter2",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization: Bearer hunter2,api-key=hunter2",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "WANDB_API_KEY": "hunter2",
    }
    with relay(run, "--follow", "--linger", "0", "--drain", "0.5", **environment) as server:
        _, said = server.communicate(timeout=30)

    assert "traces to http://127.0.0.1:9/in" in said
    assert "an entry of OTEL_EXPORTER_OTLP_HEADERS (or of a signal's own) is left out: expected name=value" in said
    assert "hunter2" not in said
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path
