"""What happens to a run, and to its log, when numbers go bad in the middle of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import esper_otel
from trainer.recipes import RECIPES
from trainer.simic.emission import Emitter
from trainer.simic.loop import Training, sample
from trainer.tamiyo.ppo import PPOSettings

SHORT = replace(RECIPES["smoke"].environment, episode_length=10)
RECIPE = replace(RECIPES["smoke"], rounds=3, environment=SHORT, ppo=PPOSettings(target_kl=10.0))


@pytest.fixture
def log(tmp_path):
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, relay=False)
    yield Path(telemetry.run_dir) / "events.jsonl"
    esper_otel.shutdown()


def payloads(log: Path, event_type: str) -> list[dict]:
    esper_otel.shutdown()
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return [record["data"] for record in records if record["event_type"] == event_type]


def poison_critic_after_first_round(training: Training):
    healthy = training.policy.value_head.bias.detach().clone()

    def after_round(end) -> None:
        with torch.no_grad():
            training.policy.value_head.bias.copy_(torch.full_like(healthy, float("nan")) if end.batch == 1 else healthy)

    return after_round


def test_an_update_on_nan_is_skipped_and_reported_and_training_goes_on(log):
    training = Training(RECIPE, Emitter())
    training.run(poison_critic_after_first_round(training))

    assert [4, 0, 4] == [len(end.learn.updates) for end in training.history]
    (skip,) = payloads(log, "TAMIYO_UPDATE_SKIPPED")
    assert (2, 1, "nonfinite_loss", "NaN") == (skip["batch"], skip["ppo_update_idx"], skip["reason"], skip["loss"])


def test_a_skipped_update_is_a_numerical_instability_and_no_policy_update(log):
    training = Training(RECIPE, Emitter())
    training.run(poison_critic_after_first_round(training))

    assert {1, 3} == {update["batch"] for update in payloads(log, "TAMIYO_POLICY_UPDATE")}
    records = [json.loads(line) for line in log.read_text().splitlines()]
    (found,) = [record for record in records if record["event_type"] == "NUMERICAL_INSTABILITY_DETECTED"]
    assert found["data"]["batch"] == 2


def test_a_host_that_turns_nan_is_rolled_back_and_the_run_goes_on(log):
    calls = []

    def choose(policy, observations, masks, stream):
        calls.append(1)
        if len(calls) == 8:
            with torch.no_grad():
                training.envs[1].host.head.weight.fill_(float("nan"))
        return sample(policy, observations, masks, stream)

    training = Training(replace(RECIPE, rounds=1), Emitter(), choose)
    training.run()

    assert training.history[0].rollbacks == 1
    (rollback,) = payloads(log, "TOLARIA_ROLLBACK")
    assert (1, 8, "governor_nan", "NaN") == (
        rollback["env_id"],
        rollback["inner_epoch"],
        rollback["panic_reason"],
        rollback["loss_at_panic"],
    )
