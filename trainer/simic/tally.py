"""Sums and counts of a round in progress."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from trainer.kasmina.facts import Fossilized, Germinated
from trainer.tamiyo.actions import Op
from trainer.tolaria.environment import StepOutcome
from trainer.tolaria.phases import PhaseTime, add_phases


@dataclass
class RoundTally:
    """Sums and counts over the steps of one round."""

    ops: Counter[str]
    successes: Counter[str]
    reward_sums: Counter[str]
    phases: dict[str, PhaseTime]
    mask_hits: Counter[str]
    created: int = 0
    fossilized: int = 0
    rollbacks: int = 0

    @classmethod
    def empty(cls) -> RoundTally:
        """Tally of a round that has not begun."""
        zeros: Counter[str] = Counter({op.name: 0 for op in Op})
        return cls(ops=zeros.copy(), successes=zeros.copy(), reward_sums=Counter(), phases={}, mask_hits=Counter())

    def add(self, outcome: StepOutcome, reward_parts: dict[str, float]) -> None:
        """Count one step."""
        op = outcome.action.op.name
        self.ops[op] += 1
        self.successes[op] += outcome.succeeded
        for name, value in reward_parts.items():
            self.reward_sums[name] += value  # type: ignore[assignment]  # Counter adds floats as well.
        self.created += sum(isinstance(fact, Germinated) for fact in outcome.facts)
        self.fossilized += sum(isinstance(fact, Fossilized) for fact in outcome.facts)
        self.rollbacks += outcome.panic is not None
        add_phases(self.phases, outcome.phases)
