import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from esper_otel.events import EVENT_TYPES
from tests.healthy_run import HEALTHY_EVENTS
from tests.waiting import PATIENCE_S, wait_for
from trainer.__main__ import final_weights, main
from trainer.options import parse
from trainer.recipes import RECIPES
from trainer.simic.loop import Training
from trainer.tolaria.weights import digest

ROOT = Path(__file__).resolve().parents[2]


def trainer(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ESPER_OTEL_RELAY": "0"}
    command = [sys.executable, "-m", "trainer", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


def trained_here(**changes) -> str:
    """The same training in this process, without telemetry."""
    training = Training(replace(RECIPES["smoke"], **changes))
    training.run()
    return f"weights sha256: {digest(final_weights(training))}"


def digest_of(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stderr
    return next(line for line in run.stdout.splitlines() if line.startswith("weights sha256: "))


@pytest.fixture(scope="module")
def with_telemetry(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("runs")
    archive = str(folder / "weights.npz")
    return trainer("--recipe", "smoke", "--telemetry-dir", str(folder), "--final-weights", archive), folder


@pytest.fixture(scope="module")
def records(with_telemetry) -> list[dict]:
    lines = (with_telemetry[1] / "latest" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def payloads(records: list[dict], event_type: str) -> list[dict]:
    return [record["data"] for record in records if record["event_type"] == event_type]


def test_training_with_and_without_telemetry_ends_in_identical_weights(with_telemetry):
    assert trained_here() == digest_of(with_telemetry[0])


def test_another_seed_ends_in_other_weights(with_telemetry):
    assert trained_here(seed=1) != digest_of(with_telemetry[0])


def test_the_final_weights_are_a_plain_archive_that_holds_the_policy_and_every_host(with_telemetry):
    with np.load(with_telemetry[1] / "weights.npz") as weights:
        owners = {name.split(".")[0] for name in weights}

    assert owners == {"policy", "host0", "host1"}


def test_the_log_holds_the_events_that_every_healthy_run_produces(records):
    assert HEALTHY_EVENTS - {record["event_type"] for record in records} == set()


def test_there_is_one_epoch_decision_and_reward_per_environment_step(records):
    counts = Counter(record["event_type"] for record in records)

    assert {3 * 2 * 14} == {
        counts[name] for name in ("TOLARIA_EPOCH_COMPLETED", "TAMIYO_DECISION", "SIMIC_REWARD_COMPUTED")
    }


def test_updates_count_from_1_within_a_batch_and_clipping_shows(records):
    updates = payloads(records, "TAMIYO_POLICY_UPDATE")
    by_batch: dict[int, list[int]] = {}
    for update in updates:
        by_batch.setdefault(update["batch"], []).append(update["ppo_update_idx"])

    assert [list(range(1, len(indices) + 1)) for indices in by_batch.values()] == list(by_batch.values())
    assert len({update["pre_clip_grad_norm"] for update in updates}) == len(updates)
    assert all(update["grad_norm"] <= 1.0 + 1e-5 for update in updates)


def test_every_reward_in_the_log_is_the_sum_of_its_components(records):
    for reward in payloads(records, "SIMIC_REWARD_COMPUTED"):
        assert pytest.approx(sum(reward["components"].values())) == reward["total_reward"]


def test_a_stage_change_starts_where_the_one_before_ended(records):
    stage = {}
    for record in records:
        data = record.get("data", {})
        if record["event_type"] == "SEED_GERMINATED":
            stage[data["seed_id"]] = "GERMINATED"
        if record["event_type"] == "SEED_STAGE_CHANGED":
            assert stage[data["seed_id"]] == data["from_stage"]
            stage[data["seed_id"]] = data["to_stage"]

    assert stage


def test_every_logged_payload_decodes_as_its_declared_event(records):
    for record in records:
        declared = EVENT_TYPES[record["event_type"]]
        if "Infinity" not in json.dumps(record["data"]) and "NaN" not in json.dumps(record["data"]):
            msgspec.convert(record["data"], declared)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rounds", "0"), "'0' is not a whole number of 1 or more"),
        (("--recipe", "huge"), "invalid choice: 'huge'"),
        (("--device", "tape"), "'tape' is not a device"),
        (("--seed", "-1"), "'-1' is not a whole number of 0 or more"),
    ],
)
def test_a_wrong_option_ends_with_status_2_and_one_clear_message(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(list(arguments))

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_weights_that_cannot_be_written_end_with_status_1_and_name_the_file(capsys):
    status = main(["--recipe", "smoke", "--rounds", "1", "--no-telemetry", "--final-weights", "/nowhere/weights.npz"])

    assert status == 1
    assert "/nowhere/weights.npz" in capsys.readouterr().err


def test_options_replace_the_recipes_numbers():
    options = parse(
        ["--recipe", "smoke", "--rounds", "9", "--envs", "5", "--episode-length", "7", "--seed", "0", "--amp"]
    )

    recipe = options.recipe
    assert (recipe.rounds, recipe.envs, recipe.environment.episode_length, recipe.seed) == (9, 5, 7, 0)
    assert recipe.environment.host.amp
    assert not recipe.environment.host.compile


ONE_ROUND = ("--recipe", "smoke", "--rounds", "1", "--envs", "1", "--episode-length", "6", "--no-telemetry")


def test_mixed_precision_trains_on_the_cpu(capsys):
    assert 0 == main([*ONE_ROUND, "--amp"])
    assert "weights sha256: " in capsys.readouterr().out


def test_compiled_hosts_train_on_the_cpu():
    assert digest_of(trainer(*ONE_ROUND, "--compile"))


def send_after_a_round(folder: Path, sent: signal.Signals) -> None:
    """Send this process ``sent`` when the run below ``folder`` has finished a round."""
    log = folder / "latest" / "events.jsonl"
    wait_for(lambda: log.exists() and "BATCH_COMPLETED" in log.read_text(), "the first round")
    os.kill(os.getpid(), sent)


@pytest.mark.parametrize(
    ("sent", "status", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")]
)
def test_ctrl_c_and_sigterm_end_the_run_as_interrupted(tmp_path, monkeypatch, capsys, sent, status, said):
    monkeypatch.setenv("ESPER_OTEL_RELAY", "0")
    sender = threading.Thread(target=send_after_a_round, args=(tmp_path, sent))
    sender.start()
    ended = main(["--recipe", "smoke", "--rounds", "999", "--episode-length", "6", "--telemetry-dir", str(tmp_path)])
    sender.join()

    assert (status, [said]) == (ended, capsys.readouterr().err.splitlines())
    last = json.loads((tmp_path / "latest" / "events.jsonl").read_text().splitlines()[-1])["data"]
    assert "interrupted" == last["outcome"]
    assert 1 <= last["rounds"] < 999
