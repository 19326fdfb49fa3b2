"""Tokens stay where they were put: in the environment, not in files, messages and errors."""

from __future__ import annotations

import json
import random
import string
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import esper_otel
from esper_otel.relay.otlp.exporters import Exporters, resource_from_env
from esper_otel.text.redaction import redacted_arguments, redacted_text, redacted_url
from tests.relay.processes import relay
from tests.security.logs import ended_run
from tests.waiting import PATIENCE_S

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


SECRET = "hunter2x"


@pytest.mark.parametrize(
    "given_arguments",
    [
        ["-p", SECRET],
        ["-k", SECRET],
        ["--password", f"-{SECRET}"],
        ["--passwordfile=" + SECRET],
        ["--apikey:" + SECRET],
        ["/password:" + SECRET],
        ["--tokens", SECRET, SECRET],
        ["--aws_secret_access_key", SECRET],
        ["--clientSecret", SECRET],
        ["++logger.wandb.token=" + SECRET],
        ["--set=token=" + SECRET],
        ["--env", "WANDB_API_KEY=" + SECRET],
        ["-H", f"Authorization: Bearer {SECRET}"],
        ["-H", f"X-Api-Key: {SECRET}"],
        ["--cookie", f"sid={SECRET}"],
        ["-u", f"bob:{SECRET}"],
        [f'{{"a": 1, "api_key": "{SECRET}"}}'],
        ["--config", f"{{'tokens': ['{SECRET}', '{SECRET}']}}"],
        [f'--json={{\\"api_key\\":\\"{SECRET}\\"}}'],
        ["--url", f"https://h/p?sig={SECRET}"],
        [f"https://h/p?x=1&X-Amz-Signature={SECRET}&y=2"],
        ["--sas", f"sv=2020&sig={SECRET}"],
        [f"AccountName=n;AccountKey={SECRET}==;EndpointSuffix=x"],
        [f"Server=db;User Id=u;Password={SECRET};"],
        [f"postgresql://u:p@{SECRET}@h/db"],
        [f"mongodb+srv://u:a/{SECRET}@h/db"],
        [f"redis://:{SECRET}@h:6379/0"],
        [f"--dsn=https://{SECRET}@o1.ingest.sentry.io/2"],
        [f"machine h login u password {SECRET}"],
        ["--slack", f"https://hooks.slack.com/services/T0/B0/{SECRET}"],
        ["--x", f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}"],
        ["--pat", f"ghp_{SECRET}"],
        [f"ghp_{SECRET}"],
        [f"--x=sk-{SECRET}"],
        [f"hf_{SECRET}"],
        [f"xoxb-1-{SECRET}"],
        [f"eyJ{SECRET}.{SECRET}.{SECRET}"],
        ["AKIA" + SECRET.upper() + "AA"],
        [f"-p{SECRET}"],
        [f"-p={SECRET}"],
        [f"-ubob:{SECRET}"],
        [f"--user=bob:{SECRET}"],
        ["--basic", f"bob:{SECRET}"],
        [f"--header=Authorization: Basic {SECRET}"],
        ["--header", "Authorization:", f"Bearer {SECRET}"],
        ["--authorization", "Bearer", SECRET],
        [f"curl -H 'Authorization: Bearer {SECRET}' h"],
        [f"export A=1 && x --api-key '{SECRET}' --lr 1"],
        [f"curl -u bob:{SECRET} https://h"],
        [f"os.environ['HF_TOKEN']='{SECRET}'"],
        [f'os.environ["HF_TOKEN"] = "{SECRET}"'],
        [f"<password>{SECRET}</password>"],
        [f"password: |\n  {SECRET}\nlr: 1"],
        [f"password: >-\n  {SECRET}"],
        [f"tokens:\n  - {SECRET}\n  - {SECRET}\nlr: 1"],
        [f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{SECRET}"],
        ["--token2", SECRET],
        [f"--token_1={SECRET}"],
        ["--dbpass", SECRET],
        ["--db_pwd", SECRET],
        ["-storepass", SECRET],
        ["--wandbkey", SECRET],
        ["--hfkey", SECRET],
        ["--openaikey", SECRET],
        ["--seed-phrase", SECRET],
        ["--пароль", SECRET],
        ["--contraseña", SECRET],
        ["--session-id", SECRET],
        [f"tskey-auth-{SECRET}"],
        [f"hvs.{SECRET}"],
        [f"lsv2_pt_{SECRET}"],
        [f"glsa_{SECRET}_12345678"],
        [f"xoxe.xoxp-1-{SECRET}"],
        [f"GOCSPX-{SECRET}"],
        [f"123456789:AA{'x' * 20}{SECRET}xx"],
        ["--sk", f"sk-proj-{SECRET}"],
    ],
)
def test_the_usual_ways_to_hand_over_a_secret_are_hidden(given_arguments: list[str]) -> None:
    shown = redacted_arguments(given_arguments)

    assert len(given_arguments) == len(shown)
    assert SECRET not in "\n".join(shown).lower()


@pytest.mark.parametrize(
    "harmless",
    [
        ["-p", "8080"],
        ["--num-keys=8", "--key-dim", "64", "--tokenizer", "gpt2"],
        ["--auth=true", "--keyboard", "us"],
        ["--time=12:30:00", "--ckpt=s3://bucket/key/a.pt", "host:8080", "C:\\runs:x"],
        ["--note", "the password is easy", "--rounds=3", "optimizer.lr=1e-3"],
        ["--note", "basic training run", "--title", "token embedding ablation", "--text=secret sauce of the digest"],
        ["--max-tokens", "4k", "--n_tokens=1,000", "--max_tokens=4_096", "--num-train-tokens", "300B"],
        ["--pad-token", "<pad>", "--eos_token=</s>", "--stop-token", "<|eot_id|>", "--pad_token_id=0"],
        ["--special-tokens", "<a>", "<b>", "--mask-token-prob", "0.15", "--token-dropout=0.1", "--token_type", "bpe"],
        ["actor.ppo_max_token_len_per_gpu=16384", "tokenizer.add_bos_token=true", "--loss_agg_mode=token-mean"],
        ["--obs-keys", "image", "state", "--sort-key=loss", "--monitor_key", "val_loss", "--keys", "loss,acc"],
        ["--env=MiniGrid-DoorKey-8x8-v0", "--env", "MiniGrid-KeyCorridorS3R1-v0", "--session-name", "abc"],
        ["--key-file", "/home/u/key.pem", "--token-file", "/run/secrets/token", "-p", "/data/x", "-pretrained"],
        ["--commit", "0123456789abcdef0123456789abcdef01234567", "--id=550e8400-e29b-41d4-a716-446655440000"],
        ["--image", "ghcr.io/org/image:tag@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
        ["--name", "sk-small-adam-cosine", "task-sk-learn-classifier", "hf_datasets_small", "hf_transformers"],
        ["--model=meta-llama/Llama-3.2-1B-Instruct", "Qwen2.5-7B-Instruct-GPTQ-Int4", "ppoLR3e4BS64Gamma099Clip02H256"],
        ["/mnt/NVMe0/Users/bob/RL/Exp12/ResNet50/v3/Run7", "20261128T234455Z_A100x8_bf16_TP4_PP2_DP8"],
    ],
)
def test_what_is_no_secret_is_shown(harmless: list[str]) -> None:
    assert harmless == redacted_arguments(harmless)


@pytest.mark.parametrize("length", [24, 32, 40, 64])
def test_most_generated_keys_are_hidden_whoever_gave_them_out(length: int) -> None:
    chance = random.Random(7)
    letters = string.ascii_letters + string.digits
    keys = ["".join(chance.choices(letters, k=length)) for _ in range(500)]

    assert sum(redacted_arguments([f"--cohere={key}"]) == ["--cohere=***"] for key in keys) > 0.8 * len(keys)


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
        _, said = server.communicate(timeout=PATIENCE_S)

    assert "traces to http://127.0.0.1:9/in" in said
    assert "an entry of OTEL_EXPORTER_OTLP_HEADERS (or of a signal's own) is ignored: expected name=value" in said
    assert "hunter2" not in said
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


@pytest.mark.parametrize(
    "part", ["!", "<>", "<-->", " ", "a:", "a=", "- ", "\n- x", "token ", "--a ", "[A]", "a-", "A1b"]
)
def test_a_long_argument_is_redacted_in_time(part: str) -> None:
    argument = f"tokens: {part * 5_000}a"
    began = time.monotonic()
    redacted_arguments([argument, "--token", argument, f"--token={argument}"])

    assert time.monotonic() - began < PATIENCE_S / 2
