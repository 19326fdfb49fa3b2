"""The factored policy: one trunk, eight action heads, a critic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from trainer.tamiyo.actions import ARGUMENTS, CAUSAL, HEADS, Action, Op, choices
from trainer.tamiyo.observation import Layout, RunningNorm
from trainer.tamiyo.readback import read_indices, read_rows

MASKED = -1e9
"""Logit of a choice that is not allowed: its probability is exactly 0 and its gradient vanishes, without infinities."""


NEW_PRUNE_LOGIT = -2.0
"""Bias of PRUNE in a policy that has learned nothing, against 0 of the other operations. A seed pays only after some
ten epochs: were PRUNE as likely as the rest, few would live that long, and there would be little to learn from."""


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Allowed actions. ``slot_ops`` [.., n_slots, 6] marks the operations that are valid on each slot."""

    slot_ops: torch.Tensor

    @property
    def op(self) -> torch.Tensor:
        """Operations [.., 6] that are valid on some slot."""
        return self.slot_ops.any(-2)

    def slot(self, op: torch.Tensor) -> torch.Tensor:
        """Slots [.., n_slots] on which the chosen operation ``op`` [..] is valid."""
        index = op[..., None, None].expand(*self.slot_ops.shape[:-1], 1)
        return self.slot_ops.gather(-1, index).squeeze(-1)


class Policy(nn.Module):
    """Maps observations [N, D] to log-probabilities per head and a value [N].

    ``op`` is drawn first; the other heads see which operation was drawn, and the slot head is masked by it.
    """

    def __init__(self, slot_ids: tuple[str, ...], width: int = 64) -> None:
        super().__init__()
        self.layout = Layout(len(slot_ids))
        self.choices = choices(slot_ids)
        self.norm = RunningNorm(self.layout.size)
        self.trunk = _mlp(self.layout.size, width)
        self.critic = _mlp(self.layout.size, width)
        self.value_head = _linear(width, 1, gain=1.0)
        n_ops = len(self.choices["op"])
        self.heads = nn.ModuleDict(
            {
                head: _linear(width + (0 if head == "op" else n_ops), len(names), gain=0.01)
                for head, names in self.choices.items()
            }
        )
        with torch.no_grad():
            self.heads["op"].get_parameter("bias")[Op.PRUNE] = NEW_PRUNE_LOGIT
        causal = [[head in CAUSAL[op] for head in HEADS] for op in Op]
        self.register_buffer("causal_table", torch.tensor(causal, dtype=torch.bool), persistent=False)

    causal_table: torch.Tensor

    def value(self, observations: torch.Tensor) -> torch.Tensor:
        """Value estimates [N]."""
        estimate: torch.Tensor = self.value_head(self.critic(self.norm(observations))).squeeze(-1)
        return estimate

    def causal(self, op: torch.Tensor) -> torch.Tensor:
        """Mask [N, 8] of the heads that matter under the operations ``op`` [N]."""
        return self.causal_table[op]

    def log_probs(self, observations: torch.Tensor, masks: Masks, op: torch.Tensor) -> dict[str, torch.Tensor]:
        """Log-probabilities of every choice, by head [N, choices], given the operations ``op`` [N]."""
        trunk = self.trunk(self.norm(observations))
        result = {"op": _masked_log_softmax(self.heads["op"](trunk), masks.op)}
        result.update(self._argument_log_probs(trunk, masks, op))
        return result

    @torch.no_grad()
    def act(self, observations: torch.Tensor, masks: Masks, stream: torch.Generator) -> Drawn:
        """Draw one action per row of ``observations`` [N, D] from ``stream``."""
        trunk = self.trunk(self.norm(observations))
        log_probs = {"op": _masked_log_softmax(self.heads["op"](trunk), masks.op)}
        drawn = {"op": _draw(log_probs["op"], stream)}
        log_probs.update(self._argument_log_probs(trunk, masks, drawn["op"]))
        drawn.update({head: _draw(log_probs[head], stream) for head in ARGUMENTS})
        return Drawn(choices=drawn, log_probs=log_probs, value=self.value(observations))

    def _argument_log_probs(self, trunk: torch.Tensor, masks: Masks, op: torch.Tensor) -> dict[str, torch.Tensor]:
        # Not one_hot: on some devices it waits, to check its input.
        chosen = (op[..., None] == torch.arange(len(Op), device=op.device)).to(trunk.dtype)
        inputs = torch.cat([trunk, chosen], -1)
        result = {head: torch.log_softmax(self.heads[head](inputs), -1) for head in ARGUMENTS if head != "slot"}
        result["slot"] = _masked_log_softmax(self.heads["slot"](inputs), masks.slot(op))
        return result


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Actions that were drawn: choices [N] and log-probabilities of all choices [N, choices] by head, values [N]."""

    choices: dict[str, torch.Tensor]
    log_probs: dict[str, torch.Tensor]
    value: torch.Tensor

    @cached_property
    def _rows(self) -> tuple[list[list[float]], list[float]]:
        # Kept, so that a step's many decisions cost one transfer.
        wide = read_rows(torch.cat([self.log_probs[head] for head in HEADS] + [self.value[:, None]], -1))
        return [row[:-1] for row in wide], [row[-1] for row in wide]

    def table(self) -> list[dict[str, list[float]]]:
        """Log-probabilities of all choices by head, one map per row. Waits for the device once."""
        sizes = [self.log_probs[head].shape[-1] for head in HEADS]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [
            {head: row[start : start + size] for head, start, size in zip(HEADS, starts, sizes, strict=True)}
            for row in self._rows[0]
        ]

    def values(self) -> list[float]:
        """Value estimates, one per row. Waits for the device once."""
        return self._rows[1]

    def actions(self) -> list[Action]:
        """The actions, one per row. Waits for the device."""
        rows = read_indices(torch.stack([self.choices[head] for head in HEADS], -1))
        return [Action.from_indices(dict(zip(HEADS, row, strict=True))) for row in rows]


def _draw(log_probs: torch.Tensor, stream: torch.Generator) -> torch.Tensor:
    return torch.multinomial(log_probs.exp(), 1, generator=stream).squeeze(-1)


def _masked_log_softmax(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits.masked_fill(~allowed, MASKED), -1)


def _linear(size_in: int, size_out: int, gain: float) -> nn.Linear:
    layer = nn.Linear(size_in, size_out)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _mlp(size_in: int, width: int) -> nn.Module:
    gain = 2.0**0.5
    return nn.Sequential(_linear(size_in, width, gain), nn.Tanh(), _linear(width, width, gain), nn.Tanh())
