"""What an epoch says of the host, against NumPy and torch done by hand; loss scaling as the policy's events tell it."""

import numpy as np
import pytest
import torch

from esper_otel.events import AmpState
from trainer.seeding import generator
from trainer.simic.emission.scaling import ScalerTally
from trainer.tolaria.host import Host
from trainer.tolaria.phases import PhaseClock
from trainer.tolaria.training import EpochTrainer, HostSettings


@pytest.fixture
def by_hand(digits, host_weights) -> tuple[EpochTrainer, HostSettings, Host]:
    settings = HostSettings(batches_per_epoch=1, lr=0.003, max_grad_norm=1e-3)
    host = Host(settings.channels, settings.n_slots)
    host.load_state_dict(host_weights)
    return EpochTrainer(host, digits, settings, torch.device("cpu"), PhaseClock()), settings, host


def test_train_loss_gradient_norm_and_learning_rate_are_those_of_the_step(by_hand, digits):
    trainer, settings, host = by_hand
    ((images, labels),) = digits.batches(1, settings.batch_size, generator(7))
    logits = host(images)
    scores = logits.detach().numpy().astype(float)
    scores -= scores.max(1, keepdims=True)
    chosen = scores[np.arange(len(labels)), labels.numpy()]
    cross_entropy = np.mean(np.log(np.exp(scores).sum(1)) - chosen)
    torch.autograd.backward(torch.nn.functional.cross_entropy(logits, labels))
    norm = np.sqrt(sum(float((p.grad.numpy().astype(float) ** 2).sum()) for p in host.own_parameters()))
    numbers = trainer.run(generator(7), ())

    assert pytest.approx(cross_entropy, rel=1e-5) == numbers.train_loss
    assert pytest.approx(norm, rel=1e-4) == numbers.host_grad_norm
    assert 0.003 == numbers.host_lr


def test_a_changed_learning_rate_is_told(by_hand):
    trainer, _, _ = by_hand
    trainer.optimizers.host.param_groups[0]["lr"] = 0.5

    assert 0.5 == trainer.run(generator(7), ()).host_lr


def reading(scale: float, state: str, changes: int, overflows: int) -> AmpState:
    return AmpState(loss_scale=scale, scaler_state=state, scale_changes=changes, overflows=overflows)


def test_the_scalers_of_all_hosts_are_added_up_and_the_first_update_carries_the_counts():
    tally = ScalerTally()
    for state in (reading(2.0, "growing", 1, 0), None, reading(1.0, "decaying", 2, 2), reading(1.0, "stable", 0, 0)):
        tally.add(state)

    common = {"loss_scale": 1.0, "grad_scaler_state": "decaying", "amp_overflow_detected": True}
    assert common | {"loss_scale_updates": 3, "amp_overflow_count": 2} == tally.fields(is_first=True)
    assert common == tally.fields(is_first=False)


def test_a_round_without_overflow_grows_and_one_without_a_scaler_says_nothing():
    tally = ScalerTally()
    assert {} == tally.fields(is_first=True)
    tally.add(reading(1.0, "stable", 0, 0))
    tally.add(reading(2.0, "growing", 1, 0))

    assert "growing" == tally.fields(is_first=False)["grad_scaler_state"]
