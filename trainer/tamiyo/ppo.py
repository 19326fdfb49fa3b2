"""Proximal policy optimisation: K updates over one rollout, each measured as a whole.

Reading order: :meth:`PPO.learn` runs the updates of a batch, :meth:`PPO._update` one pass over the rollout in
mini-batches, :meth:`PPO._minibatch` one gradient step, :mod:`trainer.tamiyo.reports` the report of a pass. The
device is read once per update, when its pass is over.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import nn

from trainer.distributed.peers import Alone, Peers
from trainer.gradient_flow import Layers
from trainer.seeding import derive_seed, generator
from trainer.tamiyo import diagnostics, head_diagnostics
from trainer.tamiyo.actions import HEADS
from trainer.tamiyo.gradients import gradient_groups, parameter_norms
from trainer.tamiyo.policy import Masks, Policy
from trainer.tamiyo.readback import Scalars, by_map, read_with
from trainer.tamiyo.reports import (
    LearnReport,
    Pass,
    SkipReport,
    UpdateReport,
    details,
    essentials,
    first_bad,
    is_measured,
    moved,
)
from trainer.tamiyo.rollout import Batch, chosen_log_probs
from trainer.tiers import Depth


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Settings of the policy's learning.

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


class PPO:
    """Owns the policy's optimiser. Draws mini-batches from its own random stream.

    With peers every rank learns from its own rollout and takes the same steps: gradients and losses are averaged over
    ranks, advantages normalised over all of them. What a report says of advantages is of this rank's share of those;
    every other number is of this rank's rollout.
    """

    def __init__(self, policy: Policy, settings: PPOSettings, seed: int, peers: Peers | None = None) -> None:
        self.peers: Peers = peers or Alone()
        self.policy = policy
        self.settings = settings
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=settings.lr, eps=1e-5)
        self.parameters = list(policy.parameters())
        self.layers = Layers(policy.named_parameters())
        self.groups = gradient_groups(policy)
        self.stream = generator(derive_seed(seed, "minibatches"))
        self.consecutive_skips = 0

    def learn(self, batch: Batch, progress: float, depth: Depth | None = None) -> LearnReport:
        """Run the updates of one batch.

        ``progress`` in [0, 1] is the share of the run that is done, ``depth`` level of diagnostics; None collects all.
        """
        s, depth = self.settings, depth or Depth()
        entropy_coef = s.entropy_coef + (s.entropy_coef_end - s.entropy_coef) * min(max(progress, 0.0), 1.0)
        everyone = self.peers.gather(batch.advantages)
        advantages = diagnostics.normalize_advantages(everyone).view(self.peers.world_size, -1)[self.peers.rank]
        fixed: Scalars = {}
        if depth.low:
            fixed = self._batch_statistics(batch, advantages)
            fixed["advantage_std_floored"] = diagnostics.is_floored(everyone)
        updates: list[UpdateReport] = []
        skipped = None
        for index in range(1, s.updates + 1):
            outcome = self._update(index, batch, advantages, entropy_coef, depth, fixed)
            if isinstance(outcome, SkipReport):
                skipped = outcome
                break
            updates.append(outcome)
            if outcome.stopped_early:
                break
        self.consecutive_skips = 0 if skipped is None else self.consecutive_skips + 1
        return LearnReport(updates=tuple(updates), skipped=skipped, lr=self._lr, entropy_coef=entropy_coef)

    def nothing_learned(self) -> LearnReport:
        """The report of a batch that was only played, not learned from."""
        return LearnReport(updates=(), skipped=None, lr=self._lr, entropy_coef=self.settings.entropy_coef)

    @property
    def _lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _update(
        self, index: int, batch: Batch, advantages: torch.Tensor, entropy_coef: float, depth: Depth, fixed: Scalars
    ) -> UpdateReport | SkipReport:
        started_ns, start = time.time_ns(), time.perf_counter()
        weights, moments = [p.detach().clone() for p in self.parameters], self._moments()
        done = Pass()
        order = torch.randperm(len(batch), generator=self.stream).to(batch.values.device)
        for rows in order.tensor_split(self.settings.minibatches):
            self._minibatch(batch, rows, advantages, entropy_coef, depth, done)
        values, arrays = read_with(self._report(batch, done, weights, depth) | fixed, done.arrays())
        bad = first_bad(arrays["gate"])
        if bad is not None:
            self._put_back(weights, moments)
            return self._skipped(index, bad, arrays.get("norms", []))
        return UpdateReport(
            ppo_update_idx=index,
            started_ns=started_ns,
            update_time_s=time.perf_counter() - start,
            values={name: value for name, value in values.items() if is_measured(name, value)},
            maps=by_map(values),
            flow=self.layers.flow(arrays["flow"]) if "flow" in arrays else None,
            stopped_early=self.peers.mean(values["kl_divergence"]) > self.settings.target_kl,
        )

    def _minibatch(
        self,
        batch: Batch,
        rows: torch.Tensor,
        advantages: torch.Tensor,
        entropy_coef: float,
        depth: Depth,
        done: Pass,
    ) -> None:
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
        per_head = torch.stack([head_diagnostics.entropy_of(log_probs[head]) for head in HEADS], -1)
        entropy = (per_head * causal).sum(-1).mean()
        loss = policy_loss + s.value_coef * value_loss - entropy_coef * entropy
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        loss = self.peers.average_gradients(self.parameters, loss)
        if depth.medium and not done.rows:
            done.flow = self.layers.measure()
        if depth.low:
            done.norms.append(parameter_norms(self.parameters))
        pre_clip = nn.utils.clip_grad_norm_(self.parameters, s.max_grad_norm)
        if depth.low:
            done.after.append(nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None]))
        # Nothing is read here: a step on numbers that are not finite is taken back when the pass is over.
        self.optimizer.step()
        done.gate.append(torch.stack([loss.detach(), pre_clip]))
        done.rows.append(rows)
        done.losses.append(torch.stack([policy_loss, value_loss, entropy, -entropy_coef * entropy]).detach())
        for head in HEADS:
            done.log_probs[head].append(log_probs[head].detach())

    @torch.no_grad()
    def _report(self, batch: Batch, done: Pass, weights: list[torch.Tensor], depth: Depth) -> Scalars:
        s = self.settings
        causal = self.policy.causal(batch.choices["op"][torch.cat(done.rows)])
        report = essentials(batch, done, causal)
        if depth.low:
            report |= details(batch, done, causal, s.clip, s.max_grad_norm, self.groups)
            report["policy_update_magnitude"] = moved(weights, [p.detach() for p in self.parameters])
        return report

    @torch.no_grad()
    def _batch_statistics(self, batch: Batch, advantages: torch.Tensor) -> Scalars:
        """Constants of all updates of a batch: the rollout, and the policy and critic that played it."""
        causal = self.policy.causal(batch.choices["op"])
        return (
            diagnostics.value_quality(batch.values, batch.returns)
            | diagnostics.return_statistics(batch.returns)
            | diagnostics.td_statistics(batch.td_errors)
            | diagnostics.advantage_statistics(advantages)
            | diagnostics.raw_advantage_statistics(batch.advantages, batch.masks.op.sum(-1) > 1)
            | head_diagnostics.policy_quality(batch.log_probs, batch.choices, causal, self.policy.choices)
        )

    def _skipped(self, index: int, bad: tuple[int, float, float], norms: list[float]) -> SkipReport:
        number, loss, norm = bad
        width = len(self.parameters)
        row = norms[number * width : (number + 1) * width]
        return SkipReport(
            ppo_update_idx=index,
            reason="nonfinite_gradient" if math.isfinite(loss) else "nonfinite_loss",
            loss=loss,
            pre_clip_grad_norm=norm,
            nonfinite_parameters=tuple(
                name
                for (name, _), value in zip(self.policy.named_parameters(), row, strict=bool(row))
                if not math.isfinite(value)
            ),
            consecutive=self.consecutive_skips + 1,
        )

    def _moments(self) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        return {
            parameter: {name: tensor.clone() for name, tensor in state.items()}
            for parameter, state in self.optimizer.state.items()
        }

    @torch.no_grad()
    def _put_back(self, weights: list[torch.Tensor], moments: dict[torch.Tensor, dict[str, torch.Tensor]]) -> None:
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.copy_(weight)
        self.optimizer.state.clear()
        self.optimizer.state.update(moments)
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
