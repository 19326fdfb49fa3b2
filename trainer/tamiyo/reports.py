"""Report of an update: tensors of one pass over the rollout, gathered while it runs, converted to numbers once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from trainer.gradient_flow import GradientFlow
from trainer.tamiyo import diagnostics, head_diagnostics
from trainer.tamiyo.actions import HEADS
from trainer.tamiyo.gradients import group_norms
from trainer.tamiyo.readback import Scalars
from trainer.tamiyo.rollout import Batch, chosen_log_probs


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """One update as numbers on the host: ``values`` by field name, ``maps`` by field name and key.

    ``flow`` is the state of the gradients of the first mini-batch; None if it was not measured.
    """

    ppo_update_idx: int
    started_ns: int
    update_time_s: float
    values: dict[str, float]
    maps: dict[str, dict[str, float]]
    flow: GradientFlow | None
    stopped_early: bool


@dataclass(frozen=True, kw_only=True)
class SkipReport:
    """An update that changed nothing. ``reason`` is nonfinite_loss or nonfinite_gradient.

    ``nonfinite_parameters`` names the tensors whose gradient was not finite in the first bad mini-batch.
    """

    ppo_update_idx: int
    reason: str
    loss: float
    pre_clip_grad_norm: float
    nonfinite_parameters: tuple[str, ...]
    consecutive: int


@dataclass(frozen=True, kw_only=True)
class LearnReport:
    """Result of the updates of one batch."""

    updates: tuple[UpdateReport, ...]
    skipped: SkipReport | None
    lr: float
    entropy_coef: float


@dataclass
class Pass:
    """Material of one pass over the rollout for the report, mini-batch by mini-batch; nothing is read before its end.

    ``gate`` holds loss and gradient norm before clipping of each mini-batch, ``norms`` those of each parameter.
    """

    rows: list[torch.Tensor] = field(default_factory=list)
    log_probs: dict[str, list[torch.Tensor]] = field(default_factory=lambda: {head: [] for head in HEADS})
    losses: list[torch.Tensor] = field(default_factory=list)
    gate: list[torch.Tensor] = field(default_factory=list)
    after: list[torch.Tensor] = field(default_factory=list)
    norms: list[torch.Tensor] = field(default_factory=list)
    flow: torch.Tensor | None = None

    def arrays(self) -> dict[str, torch.Tensor]:
        """Arrays to read entry by entry."""
        arrays = {"gate": torch.stack(self.gate)}
        if self.norms:
            arrays["norms"] = torch.stack(self.norms)
        return arrays if self.flow is None else arrays | {"flow": self.flow}


def first_bad(gate: list[float]) -> tuple[int, float, float] | None:
    """Number, loss and norm of the first mini-batch with a loss or norm that is not finite, from 0."""
    pairs = list(zip(gate[::2], gate[1::2], strict=True))
    bad = (i for i, (loss, norm) in enumerate(pairs) if not (math.isfinite(loss) and math.isfinite(norm)))
    index = next(bad, None)
    return None if index is None else (index, *pairs[index])


def is_measured(name: str, value: float) -> bool:
    """Return True if ``value`` is a number of the update: no entry of a map, no share of steps that did not happen."""
    return "." not in name and not (name in head_diagnostics.OF_CHOICES and math.isnan(value))


def moved(before: list[torch.Tensor], after: list[torch.Tensor]) -> torch.Tensor:
    """L2 norm of the change from ``before`` to ``after``."""
    return torch.stack(torch._foreach_norm(torch._foreach_sub(after, before))).square().sum().sqrt()


@torch.no_grad()
def essentials(batch: Batch, done: Pass, causal: torch.Tensor) -> Scalars:
    """Figures of an update that training itself needs: losses, norms and the KL that stops a batch early."""
    losses = torch.stack(done.losses).mean(0)
    return {
        "policy_loss": losses[0],
        "value_loss": losses[1],
        "entropy": losses[2],
        "entropy_loss": losses[3],
        "pre_clip_grad_norm": torch.stack(done.gate)[:, 1].max(),
        "kl_divergence": diagnostics.kl_estimate(_log_ratio(batch, done, causal)[1]),
    }


@torch.no_grad()
def details(
    batch: Batch, done: Pass, causal: torch.Tensor, clip: float, max_norm: float, groups: dict[str, list[int]]
) -> Scalars:
    """The low tier of an update, from the tensors of its pass. Formulas: :mod:`trainer.tamiyo.diagnostics`."""
    rows = torch.cat(done.rows)
    choices = {head: batch.choices[head][rows] for head in HEADS}
    old = {head: batch.log_probs[head][rows] for head in HEADS}
    new = {head: torch.cat(done.log_probs[head]) for head in HEADS}
    joint, log_ratio = _log_ratio(batch, done, causal)
    trust = diagnostics.trust_region(log_ratio, clip)
    before = torch.stack(done.gate)[:, 1]
    return (
        trust
        | diagnostics.gradient_norms(before, torch.stack(done.after), max_norm)
        | head_diagnostics.per_head(new, old, choices, causal, clip)
        | diagnostics.numerics(joint, before.max(), trust["kl_divergence"])
        | group_norms(torch.stack(done.norms), groups)
    )


def _log_ratio(batch: Batch, done: Pass, causal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Joint log-probability of the actions now [N], and its change since they were drawn [N]."""
    rows = torch.cat(done.rows)
    choices = {head: batch.choices[head][rows] for head in HEADS}
    new = {head: torch.cat(done.log_probs[head]) for head in HEADS}
    old = {head: batch.log_probs[head][rows] for head in HEADS}
    joint = (chosen_log_probs(new, choices) * causal).sum(-1)
    return joint, joint - (chosen_log_probs(old, choices) * causal).sum(-1)
