"""Proximal policy optimisation: K updates over one rollout, each measured as a whole.

Reading order: :meth:`PPO.learn` runs the updates of a batch, :meth:`PPO._update` one pass over the rollout in
mini-batches, :meth:`PPO._minibatch` one gradient step, :meth:`PPO._report` what the pass looked like.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
from torch import nn

from trainer.seeding import derive_seed, generator
from trainer.tamiyo import diagnostics
from trainer.tamiyo.actions import HEADS
from trainer.tamiyo.gradients import gradient_groups, gradient_statistics, group_norms, parameter_norms
from trainer.tamiyo.policy import Masks, Policy
from trainer.tamiyo.readback import Scalars, by_map, read
from trainer.tamiyo.rollout import Batch, chosen_log_probs


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """How the policy learns.

    Attributes:
        lr: learning rate of Adam.
        gamma: discount, in [0, 1].
        gae_lambda: lambda of the advantage estimate, in [0, 1].
        clip: clip range of the probability ratio.
        value_clip: clip range of the value around its old estimate; None does not clip it.
        value_coef: weight of the critic's loss.
        entropy_coef: weight of the entropy bonus at the start.
        entropy_coef_end: the same at the end; it falls linearly with the rounds.
        updates: updates (passes over the rollout) per batch.
        minibatches: gradient steps per update.
        max_grad_norm: clipping limit of the gradient's L2 norm.
        target_kl: KL in nats beyond which the batch gets no further update.
    """

    lr: float = 2e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_clip: float | None = None
    value_coef: float = 0.5
    entropy_coef: float = 0.02
    entropy_coef_end: float = 0.005
    updates: int = 4
    minibatches: int = 4
    max_grad_norm: float = 1.0
    target_kl: float = 0.08


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """One update as numbers on the host: ``values`` by field name, ``maps`` by field name and key."""

    ppo_update_idx: int
    started_ns: int
    update_time_s: float
    values: dict[str, float]
    maps: dict[str, dict[str, float]]
    stopped_early: bool


@dataclass(frozen=True, kw_only=True)
class SkipReport:
    """An update that changed nothing. ``reason`` is nonfinite_loss or nonfinite_gradient."""

    ppo_update_idx: int
    reason: str
    loss: float
    pre_clip_grad_norm: float
    consecutive: int


@dataclass(frozen=True, kw_only=True)
class LearnReport:
    """What the updates of one batch did."""

    updates: tuple[UpdateReport, ...]
    skipped: SkipReport | None
    lr: float
    entropy_coef: float


@dataclass
class _Pass:
    """What one pass over the rollout leaves for the report; rows in the order of ``rows``."""

    rows: list[torch.Tensor] = field(default_factory=list)
    log_probs: dict[str, list[torch.Tensor]] = field(default_factory=lambda: {head: [] for head in HEADS})
    values: list[torch.Tensor] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[torch.Tensor] = field(default_factory=list)
    norms: list[torch.Tensor] = field(default_factory=list)
    gradients: Scalars = field(default_factory=dict)


class PPO:
    """Owns the policy's optimiser. Draws mini-batches from its own random stream."""

    def __init__(self, policy: Policy, settings: PPOSettings, seed: int) -> None:
        self.policy = policy
        self.settings = settings
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=settings.lr, eps=1e-5)
        self.parameters = list(policy.parameters())
        self.names = [name for name, _ in policy.named_parameters()]
        self.groups = gradient_groups(policy)
        self.stream = generator(derive_seed(seed, "minibatches"))
        self.consecutive_skips = 0

    def learn(self, batch: Batch, progress: float) -> LearnReport:
        """Run the updates of one batch; ``progress`` in [0, 1] is the share of the run that is done."""
        s = self.settings
        entropy_coef = s.entropy_coef + (s.entropy_coef_end - s.entropy_coef) * min(max(progress, 0.0), 1.0)
        fixed = self._batch_statistics(batch)
        advantages = diagnostics.normalize_advantages(batch.advantages)
        updates: list[UpdateReport] = []
        skipped = None
        for index in range(1, s.updates + 1):
            outcome = self._update(index, batch, advantages, entropy_coef, fixed)
            if isinstance(outcome, SkipReport):
                skipped = outcome
                break
            updates.append(outcome)
            if outcome.stopped_early:
                break
        self.consecutive_skips = 0 if skipped is None else self.consecutive_skips + 1
        return LearnReport(updates=tuple(updates), skipped=skipped, lr=s.lr, entropy_coef=entropy_coef)

    def nothing_learned(self) -> LearnReport:
        """The report of a batch that was only played, not learned from."""
        return LearnReport(updates=(), skipped=None, lr=self.settings.lr, entropy_coef=self.settings.entropy_coef)

    def _update(
        self, index: int, batch: Batch, advantages: torch.Tensor, entropy_coef: float, fixed: Scalars
    ) -> UpdateReport | SkipReport:
        started_ns, start = time.time_ns(), time.perf_counter()
        weights = [p.detach().clone() for p in self.parameters]
        done = _Pass()
        order = torch.randperm(len(batch), generator=self.stream).to(batch.values.device)
        for rows in order.tensor_split(self.settings.minibatches):
            loss, norm = self._minibatch(batch, rows, advantages, entropy_coef, done)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                self._put_back(weights)
                reason = "nonfinite_gradient" if math.isfinite(loss) else "nonfinite_loss"
                return SkipReport(
                    ppo_update_idx=index,
                    reason=reason,
                    loss=loss,
                    pre_clip_grad_norm=norm,
                    consecutive=self.consecutive_skips + 1,
                )
        values = read(self._report(batch, done, weights) | fixed)
        return UpdateReport(
            ppo_update_idx=index,
            started_ns=started_ns,
            update_time_s=time.perf_counter() - start,
            values={name: value for name, value in values.items() if "." not in name},
            maps=by_map(values),
            stopped_early=values["kl_divergence"] > self.settings.target_kl,
        )

    def _minibatch(
        self, batch: Batch, rows: torch.Tensor, advantages: torch.Tensor, entropy_coef: float, done: _Pass
    ) -> tuple[float, float]:
        s = self.settings
        choices = {head: batch.choices[head][rows] for head in HEADS}
        causal = self.policy.causal(choices["op"]).float()
        masks = Masks(slot_ops=batch.masks.slot_ops[rows])
        observations = batch.observations[rows]
        log_probs = self.policy.log_probs(observations, masks, choices["op"])
        values = self.policy.value(observations)
        old = chosen_log_probs({head: batch.log_probs[head][rows] for head in HEADS}, choices)
        ratio = ((chosen_log_probs(log_probs, choices) - old) * causal).sum(-1).exp()
        policy_loss = clipped_surrogate(ratio, advantages[rows], s.clip)
        value_loss = critic_loss(values, batch.values[rows], batch.returns[rows], s.value_clip)
        per_head = torch.stack([diagnostics.entropy_of(log_probs[head]) for head in HEADS], -1)
        entropy = (per_head * causal).sum(-1).mean()
        loss = policy_loss + s.value_coef * value_loss - entropy_coef * entropy
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        norms = parameter_norms(self.parameters)
        if not done.rows:
            done.gradients = gradient_statistics(self.parameters, self.names)
        pre_clip = nn.utils.clip_grad_norm_(self.parameters, s.max_grad_norm)
        gate = read({"loss": loss, "norm": pre_clip})
        if math.isfinite(gate["loss"]) and math.isfinite(gate["norm"]):
            done.after.append(nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None]))
            self.optimizer.step()
        done.rows.append(rows)
        done.values.append(values.detach())
        done.losses.append(torch.stack([policy_loss, value_loss, entropy, -entropy_coef * entropy]).detach())
        done.before.append(gate["norm"])
        done.norms.append(norms)
        for head in HEADS:
            done.log_probs[head].append(log_probs[head].detach())
        return gate["loss"], gate["norm"]

    @torch.no_grad()
    def _report(self, batch: Batch, done: _Pass, weights: list[torch.Tensor]) -> Scalars:
        s = self.settings
        rows = torch.cat(done.rows)
        choices = {head: batch.choices[head][rows] for head in HEADS}
        old = {head: batch.log_probs[head][rows] for head in HEADS}
        new = {head: torch.cat(done.log_probs[head]) for head in HEADS}
        causal = self.policy.causal(choices["op"])
        joint = (chosen_log_probs(new, choices) * causal).sum(-1)
        log_ratio = joint - (chosen_log_probs(old, choices) * causal).sum(-1)
        trust = diagnostics.trust_region(log_ratio, s.clip)
        losses = torch.stack(done.losses).mean(0)
        before = torch.tensor(done.before)
        moved = torch._foreach_norm([p.detach() - w for p, w in zip(self.parameters, weights, strict=True)])
        report = {
            "policy_loss": losses[0],
            "value_loss": losses[1],
            "entropy": losses[2],
            "entropy_loss": losses[3],
            "pre_clip_grad_norm": before.max(),
            "grad_norm": torch.stack(done.after).max(),
            "grad_clip_fraction": (before > s.max_grad_norm).float().mean(),
            "gradient_utilization": before.mean() / s.max_grad_norm,
            "gradient_cv": before.std(unbiased=False) / before.mean().clamp_min(1e-12),
            "policy_update_magnitude": torch.stack(list(moved)).square().sum().sqrt(),
        }
        report |= trust
        report |= diagnostics.value_quality(torch.cat(done.values), batch.returns[rows])
        report |= diagnostics.per_head(new, old, choices, causal, s.clip)
        report |= diagnostics.numerics(joint, report["pre_clip_grad_norm"], s.max_grad_norm, trust["kl_divergence"])
        report |= group_norms(torch.stack(done.norms), self.groups)
        return report | done.gradients

    def _batch_statistics(self, batch: Batch) -> Scalars:
        causal = self.policy.causal(batch.choices["op"])
        return (
            diagnostics.return_statistics(batch.returns)
            | diagnostics.td_statistics(batch.td_errors)
            | diagnostics.advantage_statistics(batch.advantages, batch.masks.op.sum(-1) > 1)
            | diagnostics.policy_quality(batch.log_probs, batch.choices, causal, len(self.policy.choices["op"]))
        )

    @torch.no_grad()
    def _put_back(self, weights: list[torch.Tensor]) -> None:
        # The optimiser's moments may hold the finite steps of this pass; the weights are as if it had not begun.
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.copy_(weight)
        self.optimizer.zero_grad()


def clipped_surrogate(ratio: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    """-mean(min(r A, clip(r, 1 - eps, 1 + eps) A)) of ratios and advantages [N] (Schulman et al. 2017, eq. 7)."""
    return -torch.min(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages).mean()


def critic_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, clip: float | None
) -> torch.Tensor:
    """Half the mean squared error of V against the returns [N], the worse of clipped and unclipped when ``clip``."""
    error = (values - returns).square()
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.max(error, (clipped - returns).square())
    return 0.5 * error.mean()
