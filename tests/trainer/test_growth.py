import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from trainer.kasmina.alpha import AlphaAlgorithm
from trainer.kasmina.blueprints import BLUEPRINTS
from trainer.kasmina.diversity import blueprint_diversity
from trainer.kasmina.slot import Seed
from trainer.kasmina.stages import Stage
from trainer.tolaria.host import Host

NAMES = list(BLUEPRINTS)


def host_with_seed(blueprint: str, stage: Stage, algorithm: AlphaAlgorithm = AlphaAlgorithm.ADD, alpha=0.0) -> Host:
    torch.manual_seed(3)
    host = Host(8, 3)
    slot = host.slot_list[1]
    seed = slot.plant(blueprint, algorithm, 5)
    with torch.no_grad():
        for parameter in seed.parameters():
            parameter.add_(0.1)
    slot.stage, slot.alpha = stage, alpha
    return host


def loss_and_gradients(host: Host) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(4)
    images, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
    logits = host(images)
    host.zero_grad()
    torch.autograd.backward(cross_entropy(logits, labels))
    rehearsal = host.rehearse()
    if rehearsal is not None:
        torch.autograd.backward(cross_entropy(rehearsal[0], labels), inputs=rehearsal[1])
    return logits.detach(), [p.grad.clone() for p in host.own_parameters()]


def test_there_are_at_least_six_blueprints_of_different_size():
    sizes = {name: Seed(name, 8, AlphaAlgorithm.ADD).parameter_count for name in NAMES}

    assert len(set(sizes.values())) >= 6
    assert sizes["noop"] == 0
    assert sizes["conv_heavy"] == max(sizes.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_new_seed_of_any_blueprint_changes_nothing_and_keeps_the_shape(name):
    features = torch.randn(2, 8, 4, 4)

    assert torch.equal(features, Seed(name, 8, AlphaAlgorithm.ADD).mix(features, 1.0))


@pytest.mark.parametrize("algorithm", list(AlphaAlgorithm))
@pytest.mark.parametrize("name", NAMES)
def test_a_seed_at_weight_0_changes_nothing_whatever_it_has_learned(name, algorithm):
    host = host_with_seed(name, Stage.BLENDING, algorithm, alpha=0.0)
    features = torch.randn(2, 8, 4, 4)

    assert torch.equal(features, host.slot_list[1](features))


@pytest.mark.parametrize("algorithm", list(AlphaAlgorithm))
def test_a_blended_seed_changes_the_host(algorithm):
    host = host_with_seed("conv_light", Stage.BLENDING, algorithm, alpha=0.5)
    features = torch.randn(2, 8, 4, 4)

    assert not torch.equal(features, host.slot_list[1](features))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "noop"])
def test_a_training_seed_leaves_the_hosts_outputs_and_gradients_bit_identical(name):
    bare = host_with_seed(name, Stage.GERMINATED)
    incubating = copy.deepcopy(bare)
    incubating.slot_list[1].stage = Stage.TRAINING

    logits, gradients = loss_and_gradients(bare)
    same_logits, same_gradients = loss_and_gradients(incubating)
    assert torch.equal(logits, same_logits)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "noop"])
def test_a_training_seed_learns(name):
    host = host_with_seed(name, Stage.TRAINING)
    loss_and_gradients(host)

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in host.slot_list[1].seed.parameters())


def test_a_training_seed_that_overflows_does_not_reach_the_host():
    host = host_with_seed("conv_light", Stage.TRAINING)
    with torch.no_grad():
        for parameter in host.slot_list[1].seed.parameters():
            parameter.fill_(float("nan"))

    logits, gradients = loss_and_gradients(host)
    assert logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_switched_off_slot_passes_its_features_through_and_comes_back_on():
    host = host_with_seed("conv_light", Stage.HOLDING, alpha=1.0)
    features = torch.randn(2, 8, 4, 4)

    with host.only({"r0c1": False}):
        assert torch.equal(features, host.slot_list[1](features))
    assert not torch.equal(features, host.slot_list[1](features))


@pytest.mark.parametrize(
    ("expected", "blueprints"),
    [(None, []), (None, ["norm"]), (0.0, ["norm"] * 3), (1.0, ["norm", "noop"]), (0.5794, ["norm", "norm", "noop"])],
)
def test_diversity_is_1_when_all_differ_and_0_when_all_are_alike(expected, blueprints):
    assert blueprint_diversity(blueprints) == (None if expected is None else pytest.approx(expected, abs=1e-4))
