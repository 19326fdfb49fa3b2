"""What the loop tells whoever watches. The loop does the same whether anyone does: watching draws nothing at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trainer.recipes import Recipe
from trainer.simic.attribution import Matrix, Shapley
from trainer.simic.detectors import Anomaly, Trend
from trainer.simic.rewards import Reward, RewardInputs
from trainer.tamiyo.policy import Drawn
from trainer.tamiyo.ppo import LearnReport
from trainer.tolaria.environment import Environment, StepOutcome
from trainer.tolaria.phases import PhaseTime


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of one environment, as decided, carried out and rewarded. ``observation`` is the raw one before it."""

    env: Environment
    outcome: StepOutcome
    drawn: Drawn
    row: int
    reward: Reward
    inputs: RewardInputs
    observation: list[float]


@dataclass(frozen=True, kw_only=True)
class EpisodeEnd:
    """One finished episode. ``rewards`` in order; ``matrix`` is None when no seed was blended in."""

    env: Environment
    rewards: list[float]
    op_counts: dict[str, int]
    matrix: Matrix | None
    shapley: dict[str, Shapley]


@dataclass(frozen=True, kw_only=True)
class RoundEnd:
    """One finished round. Accuracies in percent, times in s; ``batch`` counts from 1."""

    batch: int
    episodes_completed: int
    total_episodes: int
    accuracies: tuple[float, ...]
    rewards: tuple[float, ...]
    rolling_accuracy: float
    learn: LearnReport
    anomalies: tuple[Anomaly, ...]
    trend: Trend | None
    drop_percent: float | None
    rolling_before: float | None
    op_counts: dict[str, int]
    op_successes: dict[str, int]
    reward_sums: dict[str, float]
    seeds_created: int
    seeds_fossilized: int
    rollbacks: int
    duration_s: float
    rollout_s: float
    learn_phase: PhaseTime
    phases: dict[str, PhaseTime]
    mask_hits: dict[str, int]
    mask_total: dict[str, int]


class Observer(Protocol):
    """Watches a run."""

    def run_started(self, recipe: Recipe, host_params: int, slot_ids: tuple[str, ...]) -> None:
        """Training begins."""

    def step_finished(self, batch: int, step: Step) -> None:
        """One environment took a step."""

    def epoch_finished(self, batch: int, epoch: int, phases: dict[str, PhaseTime], health: dict[str, float]) -> None:
        """All environments took the step ``epoch``."""

    def episode_finished(self, batch: int, end: EpisodeEnd) -> None:
        """One environment finished its episode."""

    def round_finished(self, end: RoundEnd) -> None:
        """The policy was updated."""


class Silent:
    """Watches nothing."""

    def run_started(self, recipe: Recipe, host_params: int, slot_ids: tuple[str, ...]) -> None:
        """Nothing."""

    def step_finished(self, batch: int, step: Step) -> None:
        """Nothing."""

    def epoch_finished(self, batch: int, epoch: int, phases: dict[str, PhaseTime], health: dict[str, float]) -> None:
        """Nothing."""

    def episode_finished(self, batch: int, end: EpisodeEnd) -> None:
        """Nothing."""

    def round_finished(self, end: RoundEnd) -> None:
        """Nothing."""
