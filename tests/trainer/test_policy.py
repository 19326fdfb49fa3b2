import numpy as np
import pytest
import torch

from trainer.tamiyo.actions import CAUSAL, HEADS, Op
from trainer.tamiyo.gae import compute_gae
from trainer.tamiyo.observation import CLIP, RunningNorm
from trainer.tamiyo.policy import Masks, Policy
from trainer.tamiyo.ppo import PPO, PPOSettings, SkipReport, clipped_surrogate, critic_loss
from trainer.tamiyo.rollout import Rollout

SLOTS = ("r0c0", "r0c1", "r0c2")


def some_masks(rows: int, stream: torch.Generator) -> Masks:
    slot_ops = torch.rand(rows, len(SLOTS), len(Op), generator=stream) < 0.4
    slot_ops[..., Op.WAIT] = True
    return Masks(slot_ops=slot_ops)


def some_batch(policy: Policy, steps: int = 12, envs: int = 3, seed: int = 0):
    stream = torch.Generator().manual_seed(seed)
    rollout = Rollout()
    for _ in range(steps):
        observations = torch.randn(envs, policy.layout.size, generator=stream)
        masks = some_masks(envs, stream)
        rollout.add(observations, masks, policy.act(observations, masks, stream), torch.randn(envs, generator=stream))
    return rollout.finish(0.97, 0.95)


@pytest.fixture
def policy() -> Policy:
    torch.manual_seed(0)
    return Policy(SLOTS)


def gae_of(rewards, values, dones, last, gamma, lam):
    column = lambda xs: torch.tensor(xs, dtype=torch.float64)[:, None]  # noqa: E731
    return compute_gae(
        rewards=column(rewards),
        values=column(values),
        dones=column(dones),
        last_value=torch.tensor([last], dtype=torch.float64),
        gamma=gamma,
        lam=lam,
    )


def test_with_lambda_0_the_advantage_is_the_td_error():
    result = gae_of([1.0, 2.0, 3.0], [0.5, 0.25, 0.125], [0.0, 0.0, 1.0], 9.0, 0.9, 0.0)

    expected = [1 + 0.9 * 0.25 - 0.5, 2 + 0.9 * 0.125 - 0.25, 3 - 0.125]
    assert pytest.approx(expected) == result.advantage[:, 0].tolist()
    assert pytest.approx(expected) == result.td_error[:, 0].tolist()


def test_with_lambda_1_the_return_is_the_discounted_sum_of_rewards():
    result = gae_of([1.0, 2.0, 3.0], [0.5, 0.25, 0.125], [0.0, 0.0, 1.0], 9.0, 0.5, 1.0)

    assert pytest.approx([1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3.0]) == result.returns[:, 0].tolist()


def test_the_value_after_the_last_step_counts_only_when_the_episode_goes_on():
    assert gae_of([1.0], [0.0], [0.0], 8.0, 0.5, 0.9).returns.item() == 1 + 0.5 * 8
    assert gae_of([1.0], [0.0], [1.0], 8.0, 0.5, 0.9).returns.item() == 1.0


def test_constant_td_errors_give_the_geometric_sum():
    gamma, lam, n = 0.9, 0.8, 6
    result = gae_of([1.0] * n, [0.0] * n, [0.0] * n, 0.0, gamma, lam)

    q = gamma * lam
    assert pytest.approx((1 - q**n) / (1 - q)) == result.advantage[0, 0].item()


def test_a_choice_that_is_masked_is_never_drawn(policy):
    stream = torch.Generator().manual_seed(1)
    masks = some_masks(400, stream)
    drawn = policy.act(torch.randn(400, policy.layout.size, generator=stream), masks, stream)

    op, slot = drawn.choices["op"], drawn.choices["slot"]
    assert masks.slot_ops[torch.arange(400), slot, op].all()


def test_masked_choices_have_probability_exactly_0_and_the_rest_add_up_to_1(policy):
    stream = torch.Generator().manual_seed(1)
    masks = some_masks(50, stream)
    drawn = policy.act(torch.randn(50, policy.layout.size, generator=stream), masks, stream)

    probabilities = drawn.log_probs["op"].exp()
    assert probabilities[~masks.op].max() == 0.0
    assert torch.allclose(torch.ones(50), probabilities.sum(-1))


def test_the_slot_mask_is_the_column_of_the_chosen_operation():
    slot_ops = torch.zeros(1, 3, len(Op), dtype=torch.bool)
    slot_ops[..., Op.WAIT] = True
    slot_ops[0, 1, Op.PRUNE] = True
    masks = Masks(slot_ops=slot_ops)

    assert masks.slot(torch.tensor([Op.PRUNE])).tolist() == [[False, True, False]]
    assert masks.slot(torch.tensor([Op.WAIT])).tolist() == [[True, True, True]]


def test_a_head_without_effect_gets_no_gradient(policy):
    batch = some_batch(policy)
    op = torch.full_like(batch.choices["op"], Op.FOSSILIZE)
    log_probs = policy.log_probs(batch.observations, batch.masks, op)
    causal = policy.causal(op).float()
    joint = torch.stack([log_probs[head][:, 0].clamp_min(-10) for head in HEADS], -1)
    torch.autograd.backward((joint * causal).sum())

    touched = {head for head in HEADS if policy.heads[head].weight.grad.abs().sum() > 0}
    assert CAUSAL[Op.FOSSILIZE] == touched


def test_log_probabilities_recomputed_before_any_update_equal_those_of_the_rollout(policy):
    batch = some_batch(policy)
    again = policy.log_probs(batch.observations, batch.masks, batch.choices["op"])

    assert all(torch.allclose(batch.log_probs[head], again[head], atol=1e-6) for head in HEADS)


def test_the_running_normalisation_equals_that_of_all_rows_at_once():
    rows = torch.randn(300, 4) * torch.tensor([1.0, 3.0, 0.5, 10.0]) + 2.0
    norm = RunningNorm(4)
    for part in rows.split(70):
        norm.absorb(part)

    assert torch.allclose(rows.mean(0), norm.mean, atol=1e-5)
    assert torch.allclose(rows.var(0, unbiased=False), norm.variance, rtol=1e-4)


def test_normalised_observations_are_bounded():
    assert RunningNorm(2)(torch.tensor([[1e6, -1e6]])).tolist() == [[CLIP, -CLIP]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, -1.2), (0.5, 1.0, -0.5), (1.5, -1.0, 1.5), (0.5, -1.0, 0.8), (1.1, 2.0, -2.2)],
)
def test_the_surrogate_is_the_pessimistic_one_of_clipped_and_unclipped(ratio, advantage, expected):
    loss = clipped_surrogate(torch.tensor([ratio]), torch.tensor([advantage]), 0.2)

    assert pytest.approx(expected) == loss.item()


def test_a_clipped_value_is_charged_the_worse_error():
    loss = critic_loss(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0]), 0.5)

    assert pytest.approx(0.5 * 1.5**2) == loss.item()


def test_the_norm_before_clipping_is_numpys_over_the_whole_gradient(policy):
    learner = PPO(policy, PPOSettings(updates=1, minibatches=1, max_grad_norm=1e6), 0)
    (update,) = learner.learn(some_batch(policy), 0.0).updates
    gradient = np.concatenate([p.grad.numpy().astype(float).ravel() for p in policy.parameters() if p.grad is not None])

    assert pytest.approx(np.linalg.norm(gradient), rel=1e-5) == update.values["pre_clip_grad_norm"]


def test_updates_are_numbered_from_1_and_the_norm_before_clipping_is_kept_beside_the_one_after(policy):
    settings = PPOSettings(max_grad_norm=0.05, target_kl=10.0)
    report = PPO(policy, settings, 0).learn(some_batch(policy), 0.0)

    assert [update.ppo_update_idx for update in report.updates] == [1, 2, 3, 4]
    for update in report.updates:
        assert update.values["pre_clip_grad_norm"] > 0.05
        assert update.values["grad_norm"] == pytest.approx(0.05, rel=1e-3)
        assert update.values["grad_clip_fraction"] == 1.0


def test_a_gradient_within_the_limit_is_left_as_it_is(policy):
    report = PPO(policy, PPOSettings(max_grad_norm=1e6), 0).learn(some_batch(policy), 0.0)

    values = report.updates[0].values
    assert values["pre_clip_grad_norm"] == pytest.approx(values["grad_norm"], rel=1e-5)
    assert values["grad_clip_fraction"] == 0.0


def test_a_kl_beyond_the_target_ends_the_updates_of_a_batch(policy):
    report = PPO(policy, PPOSettings(lr=0.05, target_kl=0.01, updates=6), 0).learn(some_batch(policy), 0.0)

    assert len(report.updates) < 6
    assert report.updates[-1].stopped_early
    assert report.updates[-1].values["kl_divergence"] > 0.01


def test_a_nan_in_the_rewards_skips_the_update_and_leaves_the_weights_alone(policy):
    batch = some_batch(policy)
    batch.returns[3] = float("nan")
    ppo = PPO(policy, PPOSettings(), 0)
    before = {name: value.clone() for name, value in policy.state_dict().items()}

    report = ppo.learn(batch, 0.0)
    assert report.updates == ()
    assert isinstance(report.skipped, SkipReport)
    assert (
        report.skipped.reason,
        report.skipped.ppo_update_idx,
        report.skipped.consecutive,
    ) == ("nonfinite_loss", 1, 1)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    assert ppo.learn(some_batch(policy), 0.0).skipped is None


def test_the_policy_learns_which_operation_pays():
    torch.manual_seed(0)
    policy = Policy(SLOTS)
    ppo = PPO(policy, PPOSettings(lr=3e-3, entropy_coef=0.0), 0)
    stream = torch.Generator().manual_seed(0)
    masks = Masks(slot_ops=torch.ones(32, len(SLOTS), len(Op), dtype=torch.bool))
    observations = torch.randn(32, policy.layout.size, generator=stream)
    for _ in range(15):
        rollout = Rollout()
        for _ in range(4):
            drawn = policy.act(observations, masks, stream)
            rollout.add(observations, masks, drawn, (drawn.choices["op"] == Op.ADVANCE).float())
        ppo.learn(rollout.finish(0.0, 0.0), 0.0)

    probability = policy.act(observations, masks, stream).log_probs["op"].exp()[:, Op.ADVANCE].mean()
    assert probability > 0.6
