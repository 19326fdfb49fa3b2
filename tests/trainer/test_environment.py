import dataclasses
import math

import pytest
import torch

from trainer.kasmina.facts import Pruned
from trainer.kasmina.stages import Stage
from trainer.tamiyo.actions import Action, Op
from trainer.tolaria.environment import Environment, EnvironmentSettings
from trainer.tolaria.governor import Governor, restore, take_snapshot
from trainer.tolaria.stability import STABLE_EPOCHS, Stabilization
from trainer.tolaria.training import HostSettings

WAIT = Action(op=Op.WAIT)
CPU = torch.device("cpu")


@pytest.fixture
def env(digits, host_weights) -> Environment:
    environment = Environment(0, EnvironmentSettings(), digits, CPU)
    environment.reset(0, 11, host_weights)
    return environment


def run_until_stable(env: Environment) -> None:
    while not env.can_germinate:
        env.step(WAIT, 1)


def grow(env: Environment, blueprint: int = 1) -> None:
    run_until_stable(env)
    env.step(Action(op=Op.GERMINATE, slot=0, blueprint=blueprint, alpha_target=2), 1)
    env.step(Action(op=Op.ADVANCE, slot=0), 1)
    env.step(WAIT, 1)
    assert env.step(Action(op=Op.ADVANCE, slot=0), 1).succeeded


def state(env: Environment) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in env.host.state_dict().items()}


def test_nothing_germinates_before_the_host_is_stable(env):
    assert not any(row[Op.GERMINATE] for row in env.slot_ops())
    assert not env.step(Action(op=Op.GERMINATE), 1).succeeded


def test_a_host_is_stable_once_its_loss_stopped_falling_and_says_so_once():
    stability = Stabilization()

    losses = [2.3, 2.3, 1.5, 1.2] + [1.19] * (STABLE_EPOCHS + 2)
    assert [i for i, loss in enumerate(losses) if stability.observe(loss)] == [4 + STABLE_EPOCHS - 1]


def test_every_operation_that_the_mask_allows_can_be_carried_out_on_a_germinated_seed(env):
    run_until_stable(env)
    assert env.step(Action(op=Op.GERMINATE, slot=2, blueprint=4), 1).succeeded

    valid = {op for op in Op if env.slot_ops()[2][op]}
    assert {Op.WAIT, Op.ADVANCE} == valid
    assert {Op.WAIT, Op.GERMINATE} == {op for op in Op if env.slot_ops()[0][op]}


def test_a_snapshot_is_restored_bit_for_bit_after_training_and_growth_went_on(env):
    grow(env)
    snapshot, before = take_snapshot(env.host, env.lives), state(env)
    stages = [life.stage for life in env.lives_in_order]
    env.step(Action(op=Op.GERMINATE, slot=1, blueprint=7), 1)
    env.step(WAIT, 1)

    restore(snapshot, env.host, env.lives)
    after = state(env)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert stages == [life.stage for life in env.lives_in_order]


def test_a_host_whose_loss_is_nan_is_rolled_back_and_its_growing_seeds_are_pruned(env):
    grow(env)
    kept = env.governor.snapshot.weights["head.weight"].clone()
    with torch.no_grad():
        env.host.head.weight.fill_(float("nan"))

    outcome = env.step(WAIT, 1)
    assert outcome.panic.reason == "governor_nan"
    assert math.isnan(outcome.panic.loss)
    assert torch.equal(kept, env.host.head.weight)
    assert math.isfinite(env.val_loss)
    assert [(f.slot_id, f.initiator) for f in outcome.facts if isinstance(f, Pruned)] == [("r0c0", "governor")]


def test_nothing_germinates_while_the_host_cools_down_after_a_rollback(env):
    run_until_stable(env)
    with torch.no_grad():
        env.host.head.weight.fill_(float("nan"))
    env.step(WAIT, 1)

    outcome = env.step(Action(op=Op.GERMINATE, slot=0), 1)
    assert outcome.ruling.blocked_factor == "rollback"
    assert not outcome.succeeded


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([1.0] * 5 + [float("inf")], "governor_nan"),
        ([1.0] * 5 + [math.log(10)], "governor_lobotomy"),
        ([1.0] * 5 + [9.0, 9.0], "governor_divergence"),
    ],
)
def test_the_governor_panics_on_the_last_of_these_losses(losses, reason, env):
    governor = Governor()
    *healthy, last = losses
    for loss in healthy:
        assert governor.judge(loss) is None
        governor.accept(loss, env.host, env.lives)

    assert reason == governor.judge(last).reason


@pytest.mark.parametrize("losses", [[1.0] * 5 + [9.0, 1.0, 9.0], [2.3] * 8, [2.0, 1.5, 1.2, 1.0, 1.3, 0.9]])
def test_the_governor_lets_one_bad_epoch_an_unlearned_host_and_noise_pass(losses, env):
    governor = Governor()

    for loss in losses:
        assert governor.judge(loss) is None
        governor.accept(loss, env.host, env.lives)


def test_a_blended_seeds_contribution_is_measured_by_switching_it_off(env):
    grow(env)
    for _ in range(3):
        outcome = env.step(WAIT, 1)

    record = env.lives["r0c0"].record
    assert env.lives["r0c0"].stage in (Stage.BLENDING, Stage.HOLDING)
    without = env.trainer.accuracy_of({"r0c0": False})
    assert pytest.approx(outcome.numbers.val_accuracy - without) == record.contribution


@pytest.mark.parametrize("amp", [False, True])
def test_an_environment_repeats_itself_exactly_for_one_seed(digits, host_weights, amp):
    def weights() -> dict[str, torch.Tensor]:
        settings = EnvironmentSettings(host=dataclasses.replace(HostSettings(), amp=amp))
        environment = Environment(0, settings, digits, CPU)
        environment.reset(3, 5, host_weights)
        grow(environment)
        return state(environment)

    first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_seed_is_offered_for_blending_only_once_its_gate_can_pass(env):
    run_until_stable(env)
    env.step(Action(op=Op.GERMINATE, slot=0, blueprint=1), 1)
    env.step(Action(op=Op.ADVANCE, slot=0), 1)
    offered = [env.slot_ops()[0][Op.ADVANCE]]
    env.step(WAIT, 1)
    offered.append(env.slot_ops()[0][Op.ADVANCE])

    assert offered == [False, True]
