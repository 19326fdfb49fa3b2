"""The observer that emits events: one method for each callback of the loop."""

from __future__ import annotations

from pathlib import Path

from esper_otel import emit
from esper_otel.events import CheckpointLoaded, CheckpointSaved, Event, RoundStarted
from trainer.simic.emission import infrastructure, policy_events, round_events, seed_events, step_events
from trainer.simic.emission.memory import memory_warnings
from trainer.simic.emission.scaling import ScalerTally
from trainer.simic.observer import CheckpointFile, EpisodeEnd, RoundEnd, Start, Step
from trainer.tolaria.phases import PhaseTime


class Emitter:
    """Emits every event of a run through the public API, which never raises and never blocks.

    ``group_id`` names the arm of an A/B run; None leaves the run's own group.
    """

    def __init__(self, group_id: str | None = None) -> None:
        self._group_id = group_id
        self._scaling = ScalerTally()

    def checkpoint_loaded(self, file: CheckpointFile) -> None:
        """Remember the checkpoint from which the run resumes."""
        self._emit(
            CheckpointLoaded(
                path=file.path,
                start_episode=file.episodes_completed,
                source=Path(file.path).parent.name,
                avg_accuracy=file.accuracy,
            )
        )

    def run_started(self, start: Start) -> None:
        """Announce the run."""
        self._recipe = start.recipe
        self._start_episode = start.start_episode
        self._window = infrastructure.Window(start.recipe.device)
        self._env_ids = start.env_ids
        self._emit(round_events.training_started(start))

    def round_started(self, batch: int) -> None:
        """Announce a round: its span is exported when it ends."""
        self._emit(RoundStarted(batch=batch))

    def step_finished(self, batch: int, step: Step) -> None:
        """Emit the decision, its causal chain, what happened to seeds, the epoch and the reward, in that order."""
        self._emit(step_events.decision(step))
        for row in seed_events.causal_rows(step):
            self._emit(row)
        for fact in step.outcome.facts:
            self._emit(seed_events.of_fact(fact, step.env, batch * self._recipe.envs))
        self._emit(step_events.epoch_completed(step))
        self._emit(step_events.reward_computed(step))
        self._scaling.add(step.outcome.numbers.amp)
        self._emit_all(step_events.occasional(step, self._recipe))

    def epoch_finished(self, batch: int, epoch: int, phases: dict[str, PhaseTime], health: dict[str, float]) -> None:
        """Emit the times of an epoch and, at intervals, the health of the observations."""
        self._emit(round_events.phase_profile(batch, epoch, phases))
        if health:
            self._emit(policy_events.observation_stats(epoch, health, self._env_ids))

    def episode_finished(self, batch: int, end: EpisodeEnd) -> None:
        """Emit the outcome of an episode and its attribution."""
        self._emit_all(round_events.attribution(batch, end))
        self._emit(round_events.episode_outcome(end, self._recipe.reward_mode))

    def round_finished(self, end: RoundEnd) -> None:
        """Emit the updates, then what the detectors found, then the summaries of the round."""
        scaling, self._scaling = self._scaling, ScalerTally()
        for update, started_ns in policy_events.updates(end, self._recipe, scaling):
            self._emit(update, timestamp_ns=started_ns)
        if end.learn.skipped is not None:
            self._emit(policy_events.skipped(end, end.learn.skipped))
        self._emit_all(round_events.findings(end))
        self._emit_all(memory_warnings(self._recipe))
        self._emit_all(round_events.summaries(end, self._recipe, self._start_episode))
        self._window.add(end)
        # The last round tells of what is left, so that a short run has a snapshot as well.
        if end.batch % self._recipe.snapshot_every == 0 or end.batch == self._recipe.rounds:
            self._emit_all(self._window.take(end.batch))

    def checkpoint_saved(self, file: CheckpointFile) -> None:
        """Emit the checkpoint."""
        self._emit(
            CheckpointSaved(
                path=file.path,
                episodes_completed=file.episodes_completed,
                size_bytes=file.size_bytes,
                duration_ms=None if file.duration_s is None else 1e3 * file.duration_s,
            )
        )

    def _emit(self, event: Event, *, timestamp_ns: int | None = None) -> None:
        emit(event, group_id=self._group_id, timestamp_ns=timestamp_ns)

    def _emit_all(self, events: list[Event]) -> None:
        for event in events:
            self._emit(event)
