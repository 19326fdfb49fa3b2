"""Rewards made of named parts. The reward of a step *is* the sum of its parts; nothing is added anywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainer.kasmina.stages import GROWING, Stage
from trainer.tamiyo.actions import Op

POTENTIALS: Final[dict[Stage, float]] = {
    Stage.DORMANT: 0.0,
    Stage.GERMINATED: 0.2,
    Stage.TRAINING: 0.4,
    Stage.BLENDING: 0.8,
    Stage.HOLDING: 1.0,
    Stage.FOSSILIZED: 1.2,
    Stage.PRUNED: 0.0,
    Stage.EMBARGOED: 0.0,
    Stage.RESETTING: 0.0,
}
"""Potential of a slot by stage. Shaping by differences of a potential leaves the best policy as it is (Ng 1999)."""

TERMINAL_SCALE: Final = 0.2
"""Reward per percentage point of accuracy gained since the host was stable: the purpose; 20 points are 4."""

ATTRIBUTION_SCALE: Final = 0.02
"""Reward per step and percentage point of measured contribution, bounded by :data:`ATTRIBUTION_BOUND`."""

ATTRIBUTION_BOUND: Final = 20.0
"""A host that depends on a seed makes its contribution look larger than its benefit."""

RENT_SCALE: Final = 0.02
"""Rent per step times ln(1 + seed parameters / host parameters): size costs, but ten times the size not ten times."""


@dataclass(frozen=True, kw_only=True)
class SlotView:
    """A slot after a step. ``contribution`` in percentage points, None when not measured."""

    stage: Stage
    contribution: float | None


@dataclass(frozen=True, kw_only=True)
class RewardInputs:
    """Inputs of a reward.

    Attributes:
        op: chosen operation.
        succeeded: the operation was carried out.
        rolled_back: the governor restored the host in this step.
        alpha_shock: sum of squared changes of blend weights.
        growth_ratio: seed parameters over host parameters.
        slots: slots after the step.
        stages_before: stages before it.
        is_last: the episode ends with this step.
        accuracy: validation accuracy after the step, percent.
        baseline: validation accuracy when the host became stable, percent; None before that.
        gamma: discount of the policy.
    """

    op: Op
    succeeded: bool
    rolled_back: bool
    alpha_shock: float
    growth_ratio: float
    slots: tuple[SlotView, ...]
    stages_before: tuple[Stage, ...]
    is_last: bool
    accuracy: float
    baseline: float | None
    gamma: float


@dataclass(frozen=True)
class Reward:
    """Signed parts by name; :attr:`total` is the reward."""

    components: dict[str, float]

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return math.fsum(self.components.values())

    @property
    def shaped_ratio(self) -> float | None:
        """Size of all parts except the terminal ones over the size of all parts; None without a reward."""
        size = sum(abs(value) for value in self.components.values())
        terminal = sum(abs(self.components.get(name, 0.0)) for name in ("terminal_bonus", "fossilize_terminal_bonus"))
        return None if size == 0.0 else (size - terminal) / size


def _potential(stages: tuple[Stage, ...]) -> float:
    return sum(POTENTIALS[stage] for stage in stages)


def _pbrs(x: RewardInputs) -> float:
    after = 0.0 if x.is_last else _potential(tuple(slot.stage for slot in x.slots))
    return x.gamma * after - _potential(x.stages_before)


def _attribution(x: RewardInputs) -> float:
    measured = [slot.contribution for slot in x.slots if slot.contribution is not None]
    return ATTRIBUTION_SCALE * sum(min(max(c, -ATTRIBUTION_BOUND), ATTRIBUTION_BOUND) for c in measured)


def _count(x: RewardInputs, stage: Stage, holds: Callable[[float], bool]) -> int:
    return sum(slot.stage is stage and slot.contribution is not None and holds(slot.contribution) for slot in x.slots)


def _terminal(x: RewardInputs) -> float:
    if not x.is_last or x.baseline is None:
        return 0.0
    return TERMINAL_SCALE * (x.accuracy - x.baseline)


def _action_shaping(x: RewardInputs) -> float:
    # Growing and pruning in turn would otherwise be free, and a policy that has not seen a seed pay yet settles there.
    costs = {Op.GERMINATE: 0.02, Op.PRUNE: 0.2}
    return -costs.get(x.op, 0.0) - 0.1 * (not x.succeeded) - 1.0 * x.rolled_back


def _shaped(x: RewardInputs) -> dict[str, float]:
    growing = sum(slot.stage in GROWING for slot in x.slots)
    fossilized = sum(slot.stage is Stage.FOSSILIZED for slot in x.slots)
    return {
        "bounded_attribution": _attribution(x),
        "compute_rent": -RENT_SCALE * math.log1p(x.growth_ratio),
        "alpha_shock": -0.05 * x.alpha_shock,
        "blending_warning": -0.05 * _count(x, Stage.BLENDING, lambda c: c < -1.0),
        "holding_warning": -0.05 * _count(x, Stage.HOLDING, lambda c: c < -1.0),
        "stage_bonus": 0.02 * _count(x, Stage.HOLDING, lambda c: c > 1.0),
        "pbrs_bonus": _pbrs(x),
        "action_shaping": _action_shaping(x),
        "occupancy_rent": -0.01 * growing,
        "fossilized_rent": -0.005 * fossilized,
        "terminal_bonus": _terminal(x),
        "fossilize_terminal_bonus": 0.5 * x.is_last * _count(x, Stage.FOSSILIZED, lambda c: c > 1.0),
    }


def _sparse(x: RewardInputs) -> dict[str, float]:
    return {"terminal_bonus": _terminal(x)}


_MODES: Final[dict[str, Callable[[RewardInputs], dict[str, float]]]] = {"shaped": _shaped, "sparse": _sparse}

REWARD_MODES: Final = tuple(_MODES)


def compute_reward(mode: str, inputs: RewardInputs) -> Reward:
    """Reward of one step under ``mode``, one of :data:`REWARD_MODES`.

    Raises:
        KeyError: there is no such mode.
    """
    # Adding 0.0 turns -0.0, which a rent of nothing yields, into 0.0.
    return Reward({name: float(value) + 0.0 for name, value in _MODES[mode](inputs).items()})
