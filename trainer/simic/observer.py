"""Interface between the loop and its observers. Observers do not change the loop: they draw no random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trainer.recipes import Recipe
from trainer.simic.attribution import Matrix, Shapley
from trainer.simic.detectors import Anomaly, Trend
from trainer.simic.rewards import Reward, RewardInputs
from trainer.tamiyo.policy import Drawn
from trainer.tamiyo.reports import LearnReport
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


@dataclass(frozen=True, kw_only=True)
class Start:
    """A run, or one arm of it, about to train. The recipe's numbers are those of all ranks together.

    Attributes:
        recipe: the recipe.
        host_params: trainable parameters of the bare host.
        slot_ids: slots in order.
        rank: this process among ``world_size``.
        local_rank: this process on its machine.
        world_size: processes of the run.
        start_episode: episodes that were finished before, 0 in a fresh run.
        resume_path: checkpoint that the run resumes from; None in a fresh run.
    """

    recipe: Recipe
    host_params: int
    slot_ids: tuple[str, ...]
    rank: int
    local_rank: int
    world_size: int
    start_episode: int
    resume_path: str | None

    @property
    def env_ids(self) -> range:
        """Environments of this rank, numbered over all ranks."""
        share = self.recipe.envs // self.world_size
        return range(self.rank * share, (self.rank + 1) * share)


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A checkpoint on disk. ``accuracy`` is the rolling one in percent, None before the first round.

    ``duration_s`` is the time that writing it took, None for one that was loaded.
    """

    path: str
    episodes_completed: int
    size_bytes: int
    accuracy: float | None
    duration_s: float | None = None


class Observer(Protocol):
    """Observer of a run."""

    def checkpoint_loaded(self, file: CheckpointFile) -> None:
        """Training will resume from a checkpoint; called before the start."""

    def run_started(self, start: Start) -> None:
        """Training begins."""

    def round_started(self, batch: int) -> None:
        """A round begins."""

    def step_finished(self, batch: int, step: Step) -> None:
        """One environment took a step."""

    def epoch_finished(self, batch: int, epoch: int, phases: dict[str, PhaseTime], health: dict[str, float]) -> None:
        """All environments took the step ``epoch``."""

    def episode_finished(self, batch: int, end: EpisodeEnd) -> None:
        """One environment finished its episode."""

    def round_finished(self, end: RoundEnd) -> None:
        """The policy was updated."""

    def checkpoint_saved(self, file: CheckpointFile) -> None:
        """The state of the run is on disk."""


class Silent:
    """Observer that does nothing."""

    def checkpoint_loaded(self, file: CheckpointFile) -> None:
        """Do nothing."""

    def run_started(self, start: Start) -> None:
        """Do nothing."""

    def round_started(self, batch: int) -> None:
        """Do nothing."""

    def step_finished(self, batch: int, step: Step) -> None:
        """Do nothing."""

    def epoch_finished(self, batch: int, epoch: int, phases: dict[str, PhaseTime], health: dict[str, float]) -> None:
        """Do nothing."""

    def episode_finished(self, batch: int, end: EpisodeEnd) -> None:
        """Do nothing."""

    def round_finished(self, end: RoundEnd) -> None:
        """Do nothing."""

    def checkpoint_saved(self, file: CheckpointFile) -> None:
        """Do nothing."""
