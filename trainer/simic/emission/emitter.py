"""The observer that emits: one method per thing that happens, each a few events."""

from __future__ import annotations

from esper_otel import emit
from esper_otel.events import Event
from trainer.recipes import Recipe
from trainer.simic.emission import infrastructure, policy_events, round_events, seed_events, step_events
from trainer.simic.observer import EpisodeEnd, RoundEnd, Step
from trainer.tolaria.phases import PhaseTime


class Emitter:
    """Emits every event of a run through the public API, which never raises and never blocks."""

    def __init__(self) -> None:
        self._window = infrastructure.Window()

    def run_started(self, recipe: Recipe, host_params: int, slot_ids: tuple[str, ...]) -> None:
        """Announce the run."""
        self._recipe = recipe
        emit(round_events.training_started(recipe, host_params, slot_ids))

    def step_finished(self, batch: int, step: Step) -> None:
        """Emit the decision, its causal chain, what happened to seeds, the epoch and the reward, in that order."""
        emit(step_events.decision(step))
        for row in seed_events.causal_rows(step):
            emit(row)
        for fact in step.outcome.facts:
            emit(seed_events.of_fact(fact, step.env, batch * self._recipe.envs))
        emit(step_events.epoch_completed(step))
        emit(step_events.reward_computed(step))
        _emit_all(step_events.occasional(step, self._recipe))

    def epoch_finished(self, batch: int, epoch: int, phases: dict[str, PhaseTime], health: dict[str, float]) -> None:
        """Emit where the time of an epoch went and, now and then, the health of the observations."""
        emit(round_events.phase_profile(batch, epoch, phases))
        if health:
            emit(policy_events.observation_stats(epoch, health, self._recipe.envs))

    def episode_finished(self, batch: int, end: EpisodeEnd) -> None:
        """Emit the outcome of an episode and who earned it."""
        _emit_all(round_events.attribution(batch, end))
        emit(round_events.episode_outcome(end, self._recipe.reward_mode))

    def round_finished(self, end: RoundEnd) -> None:
        """Emit the updates, then what the detectors found, then the summaries of the round."""
        for update, started_ns in policy_events.updates(end, self._recipe):
            emit(update, timestamp_ns=started_ns)
        if end.learn.skipped is not None:
            emit(policy_events.skipped(end, end.learn.skipped))
        _emit_all(round_events.findings(end))
        _emit_all(round_events.summaries(end, self._recipe))
        self._window.add(end)
        if end.batch % self._recipe.snapshot_every == 0:
            emit(self._window.take(end.batch, self._recipe.device))


def _emit_all(events: list[Event]) -> None:
    for event in events:
        emit(event)
