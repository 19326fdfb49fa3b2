"""Each diagnostic against NumPy in double precision, or against a closed form."""

import math

import numpy as np
import pytest
import torch

from trainer.tamiyo import diagnostics, head_diagnostics
from trainer.tamiyo.actions import CAUSAL, HEADS, Op
from trainer.tamiyo.gradients import gradient_groups, group_norms, parameter_norms
from trainer.tamiyo.policy import Policy
from trainer.tamiyo.readback import by_map, read
from trainer.tamiyo.reports import is_measured, moved

RNG = np.random.default_rng(5)
LOG_RATIO = RNG.normal(0.0, 0.3, 257)
RATIO = np.exp(LOG_RATIO)
RETURNS = RNG.normal(1.0, 2.0, 257)
VALUES = 0.5 * RETURNS + RNG.normal(0.0, 1.0, 257)
ADVANTAGES = RNG.gamma(2.0, 1.0, 257) - 1.5
USED = (ADVANTAGES - 0.4) / 1.7
"""What a rank uses of advantages that were normalised over several: mean and spread are not quite 0 and 1."""
USABLE = RNG.random(257) < 0.6


def tensor(array) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float64)


def skewness(x):
    return np.mean(((x - x.mean()) / x.std()) ** 3)


EXPECTED = {
    "kl_divergence": np.mean(RATIO - 1 - LOG_RATIO),
    "kl_reverse": np.mean(RATIO * LOG_RATIO - RATIO + 1),
    "trust_region_violations": np.sum(np.abs(RATIO - 1) > 0.2),
    "clip_fraction": np.mean(np.abs(RATIO - 1) > 0.2),
    "clip_fraction_positive": np.mean(RATIO > 1.2),
    "clip_fraction_negative": np.mean(RATIO < 0.8),
    "ratio_mean": RATIO.mean(),
    "ratio_min": RATIO.min(),
    "ratio_max": RATIO.max(),
    "ratio_std": RATIO.std(),
    "joint_ratio_max": RATIO.max(),
    "explained_variance": 1 - np.var(RETURNS - VALUES) / np.var(RETURNS),
    "ev_return_variance": np.var(RETURNS),
    "ev_low_return_variance": 0.0,
    "value_nrmse": math.sqrt(np.mean((VALUES - RETURNS) ** 2)) / RETURNS.std(),
    "value_prediction_error_mean": np.mean(VALUES - RETURNS),
    "value_prediction_error_std": np.std(VALUES - RETURNS),
    "value_target_correlation": np.corrcoef(VALUES, RETURNS)[0, 1],
    "value_mean": VALUES.mean(),
    "value_std": VALUES.std(),
    "value_min": VALUES.min(),
    "value_max": VALUES.max(),
    "return_mean": RETURNS.mean(),
    "return_std": RETURNS.std(),
    "return_variance": RETURNS.var(),
    "return_skewness": skewness(RETURNS),
    "return_p10": np.percentile(RETURNS, 10),
    "return_p50": np.percentile(RETURNS, 50),
    "return_p90": np.percentile(RETURNS, 90),
    "td_error_mean": ADVANTAGES.mean(),
    "td_error_std": ADVANTAGES.std(),
    "bellman_error": np.abs(ADVANTAGES).mean(),
    "pre_norm_advantage_mean": ADVANTAGES.mean(),
    "pre_norm_advantage_std": ADVANTAGES.std(),
    "d5_pre_norm_advantage_std": ADVANTAGES[USABLE].std(),
    "advantage_mean": USED.mean(),
    "advantage_std": USED.std(),
    "advantage_skewness": skewness(USED),
    "advantage_kurtosis": np.mean(((USED - USED.mean()) / USED.std()) ** 4) - 3,
    "advantage_positive_ratio": np.mean(USED > 0),
}


def quantiles_of(returns: torch.Tensor) -> dict[str, torch.Tensor]:
    return diagnostics.return_statistics(returns.float())


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    return read(
        diagnostics.trust_region(tensor(LOG_RATIO), 0.2)
        | diagnostics.value_quality(tensor(VALUES), tensor(RETURNS))
        | quantiles_of(tensor(RETURNS))
        | diagnostics.td_statistics(tensor(ADVANTAGES))
        | diagnostics.advantage_statistics(tensor(USED))
        | diagnostics.raw_advantage_statistics(tensor(ADVANTAGES), torch.tensor(USABLE))
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_the_diagnostic_equals_numpys(name, measured):
    assert pytest.approx(EXPECTED[name], rel=1e-4, abs=1e-9) == measured[name]


def test_every_scalar_diagnostic_is_compared_with_numpy(measured):
    assert set(EXPECTED) == set(measured)


def test_an_unchanged_policy_has_no_divergence_and_ratio_1():
    values = read(diagnostics.trust_region(torch.zeros(9), 0.2))

    assert tuple(values[name] for name in ("kl_divergence", "kl_reverse", "ratio_mean", "clip_fraction")) == (
        0.0,
        0.0,
        1.0,
        0.0,
    )


def test_the_kl_estimate_agrees_with_the_exact_divergence_of_two_distributions():
    old, new = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.2])
    drawn = torch.multinomial(old, 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    values = read(diagnostics.trust_region((new.log() - old.log())[drawn], 0.2))

    assert values["kl_divergence"] == pytest.approx(float((old * (old / new).log()).sum()), rel=0.02)
    assert values["kl_reverse"] == pytest.approx(float((new * (new / old).log()).sum()), rel=0.02)


def test_returns_without_spread_are_flagged_and_do_not_divide_by_zero():
    values = read(diagnostics.value_quality(torch.ones(8), torch.ones(8)))

    assert values["ev_low_return_variance"] == 1.0
    assert all(math.isfinite(value) for value in values.values())


def test_advantages_without_spread_are_flagged():
    assert diagnostics.is_floored(torch.ones(8))
    assert not diagnostics.is_floored(tensor(ADVANTAGES))


SIZES = {
    "op": 6,
    "slot": 3,
    "blueprint": 8,
    "style": 4,
    "tempo": 3,
    "alpha_target": 3,
    "alpha_speed": 4,
    "alpha_curve": 5,
}

NAMES = {head: tuple(map(str, range(size))) for head, size in SIZES.items()}


def distributions(seed: int) -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return {h: torch.randn(64, n, generator=stream, dtype=torch.float64).log_softmax(-1) for h, n in SIZES.items()}


OLD, NEW = distributions(1), distributions(2)
CHOICES = {head: torch.randint(0, n, (64,), generator=torch.Generator().manual_seed(3)) for head, n in SIZES.items()}
MATTERS = torch.tensor([[head in CAUSAL[Op(int(op))] for head in HEADS] for op in CHOICES["op"]])


@pytest.mark.parametrize("head", HEADS)
def test_a_heads_dynamics_equal_numpys_over_the_steps_where_it_mattered(head):
    maps = by_map(read(head_diagnostics.per_head(NEW, OLD, CHOICES, MATTERS, 0.2)))
    rows = MATTERS[:, HEADS.index(head)].numpy()
    old, new, chosen = OLD[head].numpy()[rows], NEW[head].numpy()[rows], CHOICES[head].numpy()[rows]
    ratio = np.exp(new - old)[np.arange(len(chosen)), chosen]

    assert pytest.approx(np.mean(np.sum(np.exp(old) * (old - new), 1)), rel=1e-4) == maps["head_kl"][head]
    assert (
        pytest.approx(np.mean(-np.sum(np.exp(new) * new, 1)) / np.log(SIZES[head]), rel=1e-4)
        == (maps["head_entropy"][head])
    )
    assert pytest.approx(np.mean(np.abs(ratio - 1) > 0.2)) == maps["head_clip_fraction"][head]
    assert pytest.approx(ratio.max()) == maps["head_ratio_max"][head]
    assert pytest.approx(rows.mean()) == maps["head_active_ratio"][head]
    assert pytest.approx(rows.mean()) == maps["causal_mask_coverage"][head]
    assert pytest.approx(rows.mean()) == maps["head_learnable_fraction"][head]


def test_the_largest_kl_of_a_step_is_exact_and_summed_over_the_heads_that_mattered():
    by_step = sum(
        np.where(MATTERS[:, i].numpy(), np.sum(np.exp(OLD[h].numpy()) * (OLD[h] - NEW[h]).numpy(), 1), 0.0)
        for i, h in enumerate(HEADS)
    )

    assert (
        pytest.approx(by_step.max())
        == read(head_diagnostics.per_head(NEW, OLD, CHOICES, MATTERS, 0.2))["approx_kl_max"]
    )


def test_an_exact_kl_is_not_below_0_where_rounding_would_take_it_there():
    near = {head: (table.float() * (1 + 1e-7)).log_softmax(-1) for head, table in OLD.items()}
    old = {head: table.float() for head, table in OLD.items()}
    values = read(head_diagnostics.per_head(near, old, CHOICES, MATTERS, 0.2))

    assert min(value for name, value in values.items() if "kl" in name) >= 0.0


def test_a_head_that_never_mattered_is_not_measured():
    nothing = torch.zeros(64, len(HEADS), dtype=torch.bool)
    maps = by_map(read(head_diagnostics.per_head(NEW, OLD, CHOICES, nothing, 0.2)))

    assert math.isnan(maps["head_kl"]["tempo"])
    assert math.isnan(maps["head_ratio_max"]["tempo"])
    assert maps["head_active_ratio"]["tempo"] == 0.0


def test_a_uniform_policy_is_not_deterministic_and_one_that_always_does_the_same_is():
    uniform = {head: torch.full((64, n), -math.log(n)) for head, n in SIZES.items()}
    certain = {head: torch.full((64, n), -30.0).index_fill(1, torch.tensor([0]), 0.0) for head, n in SIZES.items()}
    values = [
        read(head_diagnostics.policy_quality(table, CHOICES, MATTERS, NAMES))["policy_determinism"]
        for table in (uniform, certain)
    ]

    assert pytest.approx([0.0, 1.0], abs=1e-6) == values


def test_the_operation_mix_and_the_number_of_different_actions_are_counted():
    choices = {head: torch.zeros(4, dtype=torch.long) for head in HEADS}
    choices["op"] = torch.tensor([Op.WAIT, Op.WAIT, Op.WAIT, Op.ADVANCE])
    choices["slot"] = torch.tensor([0, 1, 2, 0])
    causal = torch.tensor([[head in CAUSAL[Op(int(op))] for head in HEADS] for op in choices["op"]])
    values = read(head_diagnostics.policy_quality({h: t[:4] for h, t in OLD.items()}, choices, causal, NAMES))

    assert (
        values["dominant_action_ratio"],
        values["action_diversity"],
    ) == (0.75, 2.0)
    assert {"0": 0.75, "1": 0.0, "2": 0.0, "3": 0.0, "4": 0.0, "5": 0.25} == by_map(values)["op_distribution"]


def test_forced_steps_are_no_choice_of_the_policy_in_the_operation_mix():
    table = {head: log_probs[:4].clone() for head, log_probs in OLD.items()}
    table["op"][:2, 1:] = -1e9
    choices = {head: torch.zeros(4, dtype=torch.long) for head in HEADS}
    choices["op"] = torch.tensor([Op.WAIT, Op.WAIT, Op.WAIT, Op.ADVANCE])
    causal = torch.tensor([[head in CAUSAL[Op(int(op))] for head in HEADS] for op in choices["op"]])
    values = read(head_diagnostics.policy_quality(table, choices, causal, NAMES))

    assert 0.5 == values["dominant_action_ratio"]
    assert {"0": 0.5, "1": 0.0, "2": 0.0, "3": 0.0, "4": 0.0, "5": 0.5} == by_map(values)["op_distribution"]


def test_what_is_said_of_choices_is_not_measured_where_every_step_was_forced():
    table = {head: torch.full_like(log_probs, -1e9) for head, log_probs in OLD.items()}
    for log_probs in table.values():
        log_probs[:, 0] = 0.0
    choices = {head: torch.zeros(64, dtype=torch.long) for head in HEADS}
    causal = torch.tensor([[head in CAUSAL[Op.WAIT] for head in HEADS]] * 64)
    values = read(
        head_diagnostics.policy_quality(table, choices, causal, NAMES)
        | diagnostics.raw_advantage_statistics(torch.randn(64), torch.zeros(64) > 0)
    )

    assert head_diagnostics.OF_CHOICES == {
        name for name in values if not is_measured(name, values[name]) and "." not in name
    }
    assert values["forced_step_ratio"] == 1.0


def test_different_actions_are_counted_as_numpy_counts_rows():
    chosen = np.stack([CHOICES[head].numpy() for head in HEADS], 1)
    effective = np.where(MATTERS.numpy(), chosen, -1)
    values = read(head_diagnostics.policy_quality(OLD, CHOICES, MATTERS, NAMES))

    assert len(np.unique(effective, axis=0)) == values["action_diversity"]
    assert pytest.approx(np.bincount(CHOICES["op"].numpy()).max() / 64) == values["dominant_action_ratio"]


def test_policy_determinism_equals_numpys_over_what_mattered():
    entropy = maximum = 0.0
    for index, head in enumerate(HEADS):
        rows = MATTERS[:, index].numpy()
        entropy += -np.sum(np.exp(OLD[head].numpy()) * OLD[head].numpy(), 1)[rows].sum()
        maximum += rows.sum() * math.log(SIZES[head])
    values = read(head_diagnostics.policy_quality(OLD, CHOICES, MATTERS, NAMES))

    assert pytest.approx(1 - entropy / maximum, rel=1e-4) == values["policy_determinism"]


@pytest.mark.parametrize("shift", [-60.0, 7.0])
def test_determinism_of_log_probabilities_that_do_not_add_up_lies_between_0_and_1(shift: float):
    chosen = CHOICES["op"][:, None]
    stale = OLD | {"op": OLD["op"].scatter_add(-1, chosen, torch.full(chosen.shape, shift, dtype=OLD["op"].dtype))}

    assert 0.0 <= read(head_diagnostics.policy_quality(stale, CHOICES, MATTERS, NAMES))["policy_determinism"] <= 1.0


def test_gradient_norms_of_the_minibatches_are_summed_up_as_numpy_does():
    before, after = np.array([0.5, 1.5, 3.0, 1.0]), np.array([0.5, 1.0, 1.0, 1.0])
    values = read(diagnostics.gradient_norms(tensor(before), tensor(after), 1.0))

    assert {
        "grad_norm": 1.0,
        "grad_clip_fraction": 0.5,
        "gradient_utilization": pytest.approx(before.mean()),
        "gradient_cv": pytest.approx(before.std() / before.mean()),
    } == values


def test_the_kl_that_stops_updates_is_the_one_that_is_reported():
    log_ratio = tensor(LOG_RATIO)

    assert diagnostics.kl_estimate(log_ratio) == diagnostics.trust_region(log_ratio, 0.2)["kl_divergence"]


def test_the_update_magnitude_is_the_norm_of_the_weights_change():
    before = [torch.zeros(3), torch.ones(2, 2)]
    after = [torch.tensor([3.0, 0.0, 0.0]), torch.full((2, 2), 3.0)]

    assert 5.0 == moved(before, after)


def test_a_step_with_one_allowed_operation_is_forced():
    table = dict(OLD)
    table["op"] = OLD["op"].clone()
    table["op"][:16, 1:] = -1e9
    values = read(head_diagnostics.policy_quality(table, CHOICES, MATTERS, NAMES))

    assert tuple(
        values[name]
        for name in ("forced_step_ratio", "decision_density", "valid_sample_ratio", "usable_actor_timesteps")
    ) == (0.25, 0.75, 0.75, 48.0)


@pytest.mark.parametrize(
    ("expected", "norm", "kl"), [(1.0, 10.0, 0.0), (0.5, 100.0, 0.0), (math.exp(-0.1), 1.0, 0.1), (1 / 3, 1e3, -1.0)]
)
def test_the_stability_score_falls_with_the_decades_of_a_gradient_above_10_and_with_kl(expected, norm, kl):
    values = read(diagnostics.numerics(torch.tensor([-1.0, -2.0]), torch.tensor(norm), torch.tensor(kl)))

    assert pytest.approx(expected, rel=1e-5) == values["numerical_stability_score"]


def test_log_probabilities_under_minus_50_are_counted_as_underflow():
    values = read(diagnostics.numerics(torch.tensor([-1.0, -51.0, -50.0, -80.0]), torch.tensor(1.0), torch.tensor(0.0)))

    assert (
        values["log_prob_underflow_count"],
        values["log_prob_min"],
        values["log_prob_max"],
        values["numerical_stability_score"],
    ) == (2.0, -80.0, -1.0, 0.5)


@pytest.fixture
def policy_with_gradients() -> Policy:
    torch.manual_seed(0)
    policy = Policy(("r0c0",))
    for parameter in policy.parameters():
        parameter.grad = torch.randn_like(parameter)
    return policy


def test_gradient_norms_by_head_equal_numpys(policy_with_gradients):
    policy = policy_with_gradients
    norms = parameter_norms(list(policy.parameters()))[None]
    values = by_map(read(group_norms(norms, gradient_groups(policy))))["head_grad_norm"]

    for head in HEADS:
        flat = np.concatenate([p.grad.numpy().ravel() for p in policy.heads[head].parameters()])
        assert pytest.approx(np.linalg.norm(flat), rel=1e-5) == values[head]
    assert "value" in values
