"""Kasmina's events: changes of seeds, and the causal chain behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from esper_otel.events import (
    Event,
    MorphologyCausalLog,
    SeedFossilized,
    SeedGateEvaluated,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
)
from trainer.kasmina.facts import Fossilized, GateEvaluated, Germinated, Pruned, SeedFact, StageChanged
from trainer.simic.observer import Step
from trainer.tamiyo.actions import BLUEPRINT_IDS, Op
from trainer.tamiyo.observation import fingerprint
from trainer.tolaria.environment import Environment

VANISHING_RATIO: Final = 1e-3
"""Seed over host gradient, each by the root of its size, below which a seed hardly learns beside its host."""

EXPLODING_RATIO: Final = 100.0


def of_fact(fact: SeedFact, env: Environment, episodes_completed: int) -> Event:
    """The event of one fact. ``episodes_completed`` is the count at the end of the batch, as in esper-lite."""
    common: dict[str, Any] = {
        "seed_id": fact.seed_id,
        "slot_id": fact.slot_id,
        "env_id": env.env_id,
        "episode_idx": env.episode_idx,
        "inner_epoch": env.inner_epoch,
        "epoch": episodes_completed,
    }
    return _BUILDERS[type(fact)](fact, common)


def _origin(fact: SeedFact) -> dict[str, Any]:
    origin = fact.provenance
    if origin is None:
        return {}
    return {
        "morphology_proposal_id": f"{origin.action_id}-proposal",
        "morphology_verdict_id": f"{origin.action_id}-verdict",
        "morphology_mutation_id": f"{origin.action_id}-mutation",
        "rng_stream": origin.rng_stream,
        "rng_seed": origin.rng_seed,
    }


def _germinated(fact: Germinated, common: dict[str, Any]) -> Event:
    # Gradients of a seed that has not learned yet are not measured: the fields stay absent.
    return SeedGerminated(
        **common,
        **_origin(fact),
        blueprint_id=fact.blueprint_id,
        params=fact.params,
        alpha=0.0,
        epochs_in_stage=0,
        blend_tempo_epochs=fact.tempo_epochs,
        alpha_curve=str(fact.style.curve),
    )


def _stage_changed(fact: StageChanged, common: dict[str, Any]) -> Event:
    ratio = fact.grad_ratio
    return SeedStageChanged(
        **common,
        **_origin(fact),
        from_stage=str(fact.from_stage),
        to_stage=str(fact.to_stage),
        blueprint_id=fact.blueprint_id,
        alpha=fact.alpha,
        accuracy_delta=fact.accuracy_delta,
        epochs_in_stage=fact.epochs_in_stage,
        grad_ratio=ratio,
        has_vanishing=None if ratio is None else ratio < VANISHING_RATIO,
        has_exploding=None if ratio is None else ratio > EXPLODING_RATIO,
        alpha_curve=str(fact.alpha_curve),
    )


def _gate_evaluated(fact: GateEvaluated, common: dict[str, Any]) -> Event:
    verdict = "passed" if fact.passed else "failed: " + ", ".join(fact.checks_failed)
    return SeedGateEvaluated(
        **common,
        gate=fact.gate,
        passed=fact.passed,
        target_stage=str(fact.target_stage),
        checks_passed=fact.checks_passed,
        checks_failed=fact.checks_failed,
        message=f"{fact.gate} {verdict}",
    )


def _fossilized(fact: Fossilized, common: dict[str, Any]) -> Event:
    return SeedFossilized(
        **common,
        **_origin(fact),
        blueprint_id=fact.blueprint_id,
        improvement=fact.improvement,
        params_added=fact.params,
        alpha=fact.alpha,
        epochs_total=fact.age,
        counterfactual=fact.contribution,
        blending_delta=fact.blending_delta,
    )


def _pruned(fact: Pruned, common: dict[str, Any]) -> Event:
    return SeedPruned(
        **common,
        **_origin(fact),
        blueprint_id=fact.blueprint_id,
        reason=fact.reason,
        initiator=fact.initiator,
        auto_pruned=fact.initiator != "policy",
        improvement=fact.improvement,
        epochs_total=fact.age,
        counterfactual=fact.contribution,
        blending_delta=fact.blending_delta,
    )


_BUILDERS: Final[dict[type[SeedFact], Callable[[Any, dict[str, Any]], Event]]] = {
    Germinated: _germinated,
    StageChanged: _stage_changed,
    GateEvaluated: _gate_evaluated,
    Fossilized: _fossilized,
    Pruned: _pruned,
}


def causal_rows(step: Step) -> list[Event]:
    """The chain behind a step's operation: proposal, verdict, and mutation and commit if it was carried out."""
    outcome, env = step.outcome, step.env
    action_id = outcome.provenance.action_id
    rows: list[Event] = []
    if outcome.action.op is not Op.WAIT:
        ruling = outcome.ruling
        verdict = {
            "governor_approved": ruling.approved,
            "governor_reason": ruling.reason,
            "governor_blocked_factor": ruling.blocked_factor,
        }
        rows = [_row(step, "proposal", action_id), _row(step, "verdict", action_id, **verdict)]
        if outcome.succeeded:
            rows.append(_row(step, "mutation", action_id, **verdict))
            last = "fossilization" if outcome.action.op is Op.FOSSILIZE else "commit"
            rows.append(_row(step, last, action_id, linked_event_id=f"{action_id}-mutation", **verdict))
    if outcome.panic is not None:
        blamed = env.last_action_id or action_id
        rows.append(
            _row(
                step,
                "rollback",
                blamed,
                watch_window_evidence=outcome.panic.loss,
                governor_reason=outcome.panic.reason,
                linked_event_id=f"{blamed}-mutation",
            )
        )
    return rows


def _row(step: Step, phase: str, action_id: str, **more: Any) -> Event:
    outcome = step.outcome
    action = outcome.action
    return MorphologyCausalLog(
        phase=phase,
        env_id=step.env.env_id,
        inner_epoch=outcome.inner_epoch,
        slot_id=step.env.slot_ids[action.slot],
        operation=action.op.name,
        action_id=action_id,
        proposal_id=f"{action_id}-proposal",
        verdict_id=f"{action_id}-verdict",
        mutation_id=f"{action_id}-mutation",
        observation_hash=fingerprint(step.observation),
        rng_stream=outcome.provenance.rng_stream,
        rng_seed=outcome.provenance.rng_seed,
        topology="cnn",
        blueprint_id=BLUEPRINT_IDS[action.blueprint] if action.op is Op.GERMINATE else None,
        **more,
    )
