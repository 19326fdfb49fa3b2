"""Gradient flow of policy and host against NumPy, and what the host's event says of it."""

import math

import numpy as np
import pytest
import torch

from trainer.gradient_flow import GradientFlow, Layers, layer_health
from trainer.kasmina.diversity import output_similarity
from trainer.seeding import generator
from trainer.tamiyo.policy import Policy
from trainer.tamiyo.readback import read_with
from trainer.tolaria.host import Host
from trainer.tolaria.phases import PhaseClock
from trainer.tolaria.training import EpochTrainer, HostSettings


@pytest.fixture
def policy() -> Policy:
    torch.manual_seed(0)
    policy = Policy(("r0c0",))
    for parameter in policy.parameters():
        parameter.grad = torch.randn_like(parameter)
    return policy


def flow_of(layers: Layers) -> GradientFlow:
    _, rows = read_with({}, {"flow": layers.measure()})
    return layers.flow(rows["flow"])


def by_layer(policy: Policy) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for name, parameter in policy.named_parameters():
        parts.setdefault(name.rpartition(".")[0], []).append(parameter.grad.numpy().ravel())
    return {layer: np.concatenate(entries) for layer, entries in parts.items()}


def test_layer_norms_and_their_spread_equal_numpys(policy):
    flow = flow_of(Layers(policy.named_parameters()))
    expected = {layer: np.linalg.norm(entries.astype(float)) for layer, entries in by_layer(policy).items()}

    assert pytest.approx(expected, rel=1e-5) == flow.norm_per_layer
    assert pytest.approx(max(expected.values()) / min(expected.values()), rel=1e-5) == flow.norm_ratio


def test_zeros_large_and_bad_entries_are_counted_by_layer(policy):
    policy.heads["op"].bias.grad[:2] = float("nan")
    policy.heads["slot"].bias.grad[:] = float("inf")
    for parameter in policy.heads["tempo"].parameters():
        parameter.grad.zero_()
    policy.heads["style"].weight.grad.fill_(11.0)
    flow = flow_of(Layers(policy.named_parameters()))
    entries = np.concatenate(list(by_layer(policy).values()))

    assert (("heads.op",), 2, 1, 1, 1) == (
        flow.nan_layers,
        flow.nan_entries,
        flow.inf_entries,
        flow.dead_layers,
        flow.exploding_layers,
    )
    assert pytest.approx(np.mean(entries == 0)) == flow.zero_fraction
    assert flow.norm_per_layer["heads.tempo"] == 0.0
    assert math.isnan(flow.norm_per_layer["heads.op"])
    assert (0.0, 0.0, 0.0) == tuple(flow.health[f"heads.{head}"] for head in ("tempo", "op", "slot"))


@pytest.mark.parametrize(
    ("expected", "norms", "zeros"),
    [
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]),
        ([1.0, 0.75, 0.5], [2.0, 2.0, 200.0], [0.0, 0.25, 0.0]),
        ([1.0, 1.0, 1 / 3], [2.0, 20.0, 0.02 * 0.1], [0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [0.0, math.nan, math.inf], [1.0, 0.0, 0.0]),
    ],
)
def test_health_falls_with_zeros_and_with_decades_from_the_median(expected, norms, zeros):
    health = layer_health(norms, zeros, [4, 4, 4])

    assert pytest.approx(expected, rel=0.02) == health


def test_the_host_is_measured_before_clipping_and_without_changing_what_it_learns(digits, host_weights):
    epochs = []
    for look in (False, True):
        settings = HostSettings(max_grad_norm=1e-3)
        host = Host(settings.channels, settings.n_slots)
        host.load_state_dict(host_weights)
        trainer = EpochTrainer(host, digits, settings, torch.device("cpu"), PhaseClock())
        epochs.append((trainer.run(generator(1), (), look=look), host.state_dict()))
    (plain, weights), (looked, looked_weights) = epochs

    assert plain.flow is None
    assert looked.flow is not None
    total = math.sqrt(sum(norm**2 for norm in looked.flow.norm_per_layer.values()))
    assert pytest.approx(looked.host_grad_norm, rel=1e-5) == total
    assert total > 1e-3
    assert all(torch.equal(weights[name], looked_weights[name]) for name in weights)
    assert {"blocks.0.conv", "blocks.0.norm", "head"} <= set(looked.flow.norm_per_layer)


def test_a_hosts_nan_gradient_is_named_by_layer(digits, host_weights):
    settings = HostSettings()
    host = Host(settings.channels, settings.n_slots)
    host.load_state_dict(host_weights)
    with torch.no_grad():
        host.head.bias[3] = float("nan")
    trainer = EpochTrainer(host, digits, settings, torch.device("cpu"), PhaseClock())
    numbers = trainer.run(generator(1), (), look=True)

    assert numbers.flow is not None
    assert "head" in numbers.flow.nan_layers


def scaler_run(digits, host_weights, epochs, confidence=1.0, **settings):
    made = HostSettings(amp=True, **settings)
    host = Host(made.channels, made.n_slots)
    host.load_state_dict(host_weights)
    with torch.no_grad():
        host.head.weight *= confidence
    trainer = EpochTrainer(host, digits, made, torch.device("cpu"), PhaseClock())
    stream = generator(1)
    return [trainer.run(stream, ()).amp for _ in range(epochs)], host


def test_a_loss_scale_beyond_what_fits_really_overflows_and_decays(digits, host_weights):
    (first,), host = scaler_run(digits, host_weights, 1, confidence=50.0, loss_scale=2.0**127)

    assert first.scaler_state == "decaying"
    assert first.overflows >= 1
    assert first.loss_scale == 2.0 ** (127 - first.overflows)
    assert all(value.isfinite().all() for value in host.state_dict().values())


def test_the_loss_scale_grows_after_its_interval_and_is_stable_in_between(digits, host_weights):
    readings, _ = scaler_run(digits, host_weights, 3, loss_scale_growth_interval=10)

    assert ["stable", "growing", "stable"] == [reading.scaler_state for reading in readings]
    assert (0, 1, 0) == tuple(reading.scale_changes for reading in readings)
    assert 2.0**17 == readings[-1].loss_scale


def test_seeds_that_do_the_same_are_alike_and_orthogonal_ones_are_not():
    a, b = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])

    assert (1.0, 0.0) == (float(output_similarity([a, -3 * a])), float(output_similarity([a, b])))
    assert pytest.approx(1 / 3) == float(output_similarity([a, a, b]))


def test_seeds_that_change_nothing_are_not_compared():
    a, nothing = torch.ones(2, 2), torch.zeros(2, 2)

    assert math.isnan(float(output_similarity([a, nothing])))
    assert math.isnan(float(output_similarity([a])))
    assert pytest.approx(1.0) == float(output_similarity([a, nothing, a]))
