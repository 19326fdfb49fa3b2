"""Events of one environment step: the decision, the epoch, the reward, and rare events."""

from __future__ import annotations

import math
from typing import Any

from esper_otel.events import (
    Decision,
    EpochCompleted,
    Event,
    RewardComputed,
    RewardHackingSuspected,
    Rollback,
    SeedDiversity,
    SeedSnapshot,
    TamiyoInitiated,
)
from trainer.gradient_flow import GradientFlow
from trainer.kasmina.diversity import blueprint_diversity
from trainer.kasmina.lifecycle import Lifecycle
from trainer.kasmina.stages import GROWING, Stage
from trainer.recipes import Recipe
from trainer.simic import detectors
from trainer.simic.emission.seed_events import EXPLODING_RATIO, VANISHING_RATIO
from trainer.simic.observer import Step
from trainer.tamiyo.actions import ALPHA_TARGETS, HEADS, STYLES, Op, choices
from trainer.tiers import SIMILARITY_EVERY
from trainer.tolaria.environment import Environment
from trainer.tolaria.stability import STABLE_EPOCHS


def decision(step: Step) -> Event:
    """The policy's choice and its confidence."""
    outcome, env = step.outcome, step.env
    action = outcome.action
    names = choices(env.slot_ids)
    tables = step.drawn.table()[step.row]
    by_head = {head: [math.exp(x) for x in tables[head]] for head in HEADS}
    allowed = {head: sum(x > -1e8 for x in tables[head]) for head in HEADS}
    entropy = {head: _entropy(by_head[head], tables[head]) for head in HEADS}
    others = sorted(
        ((op.name, by_head["op"][op]) for op in Op if op is not action.op), key=lambda pair: pair[1], reverse=True
    )
    slot_id = env.slot_ids[action.slot]
    seed = env.lives[slot_id].slot.seed
    chosen = {head: names[head][action.index(head)] for head in HEADS if action.matters(head)}
    return Decision(
        env_id=env.env_id,
        episode_idx=env.episode_idx,
        inner_epoch=outcome.inner_epoch,
        action_name=action.op.name,
        action_success=outcome.succeeded,
        action_confidence=by_head["op"][action.op],
        decision_entropy=entropy["op"],
        value_estimate=step.drawn.values()[step.row],
        total_reward=step.reward.total,
        slot_id=chosen.get("slot"),
        blueprint_id=chosen.get("blueprint"),
        style=chosen.get("style"),
        blend_id=STYLES[action.style].blend_id if "style" in chosen else None,
        tempo_idx=action.tempo if "tempo" in chosen else None,
        alpha_target=ALPHA_TARGETS[action.alpha_target].value if "alpha_target" in chosen else None,
        alpha_speed=chosen.get("alpha_speed"),
        alpha_curve=chosen.get("alpha_curve"),
        alpha_algorithm=None if seed is None else str(seed.algorithm),
        alpha_algorithm_selected=str(STYLES[action.style].algorithm) if "style" in chosen else None,
        head_choice=chosen,
        head_confidence={head: by_head[head][action.index(head)] for head in HEADS},
        head_choice_entropy={head: entropy[head] / math.log(n) for head, n in allowed.items() if n > 1},
        head_forced={head: n <= 1 for head, n in allowed.items()},
        alternatives=tuple(others[:2]),
        slot_states={slot: _state_text(life) for slot, life in env.lives.items()},
        device=str(env.device),
    )


def _entropy(probabilities: list[float], log_probabilities: list[float]) -> float:
    return max(0.0, -sum(p * x for p, x in zip(probabilities, log_probabilities, strict=True)))


def _state_text(life: Lifecycle) -> str:
    if life.stage is Stage.DORMANT:
        return "Empty"
    return f"{life.stage.value.capitalize()} {life.slot.alpha:.0%}"


def epoch_completed(step: Step) -> Event:
    """One host epoch, with the state of each slot at its end."""
    outcome, env = step.outcome, step.env
    numbers, phases = outcome.numbers, outcome.phases

    def spent_ms(name: str) -> float | None:
        return phases[name].wall_s * 1e3 if name in phases else None

    return EpochCompleted(
        env_id=env.env_id,
        episode_idx=env.episode_idx,
        inner_epoch=outcome.inner_epoch,
        val_accuracy=numbers.val_accuracy,
        val_loss=numbers.val_loss,
        host_train_loss=numbers.train_loss,
        train_accuracy=numbers.train_accuracy,
        host_grad_norm_pre_clip=numbers.host_grad_norm,
        host_lr=numbers.host_lr,
        host_epoch_time_ms=outcome.duration_s * 1e3,
        forward_time_ms=spent_ms("forward"),
        backward_time_ms=spent_ms("backward"),
        optimizer_step_time_ms=spent_ms("optimizer"),
        data_transfer_time_ms=spent_ms("data_transfer"),
        total_params=env.host.parameter_count + env.host.seed_parameter_count,
        seeds={slot_id: _snapshot(life, env) for slot_id, life in env.lives.items()},
        device=str(env.device),
        **_flow(numbers.flow),
    )


def _flow(flow: GradientFlow | None) -> dict[str, Any]:
    if flow is None:
        return {}
    return {
        "grad_norm_per_layer": flow.norm_per_layer,
        "grad_zero_fraction": flow.zero_fraction,
        "grad_norm_ratio": flow.norm_ratio,
        "grad_nan_layers": flow.nan_layers,
        "dead_layers": flow.dead_layers,
        "exploding_layers": flow.exploding_layers,
    }


def _snapshot(life: Lifecycle, env: Environment) -> SeedSnapshot:
    record = life.record
    if record is None or life.slot.seed is None:
        return SeedSnapshot(stage=str(life.stage))
    order = env.lives_in_order
    position = order.index(life)
    ratio = record.grad_ratio
    return SeedSnapshot(
        stage=str(life.stage),
        blueprint_id=record.blueprint_id,
        seed_id=record.seed_id,
        alpha=life.slot.alpha,
        alpha_target=record.alpha_target,
        alpha_curve=str(record.curve),
        blend_tempo_epochs=record.tempo.value,
        params=record.params,
        accuracy_delta=record.improvement,
        epochs_in_stage=record.epochs_in_stage,
        gradient_norm=record.grad_norm,
        has_vanishing=None if ratio is None else ratio < VANISHING_RATIO,
        has_exploding=None if ratio is None else ratio > EXPLODING_RATIO,
        contribution=record.contribution,
        contribution_velocity=record.contribution_velocity,
        upstream_alpha_sum=sum(other.slot.alpha for other in order[:position]),
        downstream_alpha_sum=sum(other.slot.alpha for other in order[position + 1 :]),
    )


def reward_computed(step: Step) -> Event:
    """The reward and its parts."""
    env, inputs = step.env, step.inputs
    record = env.lives_in_order[step.outcome.action.slot].record
    return RewardComputed(
        env_id=env.env_id,
        episode_idx=env.episode_idx,
        inner_epoch=step.outcome.inner_epoch,
        action_name=inputs.op.name,
        action_success=inputs.succeeded,
        total_reward=step.reward.total,
        components=dict(step.reward.components),
        shaped_reward_ratio=step.reward.shaped_ratio,
        base_acc_delta=step.outcome.accuracy_delta,
        seed_contribution=None if record is None else record.contribution,
        progress_since_germination=None if record is None else record.improvement,
        num_fossilized_seeds=len(env.fossilized),
        num_contributing_fossilized=contributing(env),
        n_active_seeds=env.growing_count,
        val_acc=inputs.accuracy,
        host_baseline_acc=step.outcome.numbers.val_accuracy_without.get(env.slot_ids[step.outcome.action.slot]),
        acc_at_germination=None if record is None else record.accuracy_at_germination,
        growth_ratio=inputs.growth_ratio,
    )


def contributing(env: Environment) -> int:
    """Permanent seeds whose contribution is above one percentage point."""
    worth = [life.record.contribution for life in env.fossilized if life.record is not None]
    return sum(value is not None and value > 1.0 for value in worth)


def occasional(step: Step, recipe: Recipe) -> list[Event]:
    """Rare events of a step: a stable host, a rollback, suspicious credit, diversity."""
    env, outcome = step.env, step.outcome
    where: dict[str, Any] = {"env_id": env.env_id, "episode_idx": env.episode_idx}
    events: list[Event] = []
    if outcome.became_stable:
        events.append(
            TamiyoInitiated(
                **where,
                epoch=outcome.inner_epoch,
                stable_count=env.stability.stable_count,
                stabilization_epochs=STABLE_EPOCHS,
                val_loss=env.val_loss,
            )
        )
    if outcome.panic is not None:
        events.append(_rollback(step, where))
    scaling = outcome.numbers.amp
    if scaling is not None and (env.is_done or scaling.scale_changes or scaling.overflows):
        events.append(scaling)
    events += _suspicions(env)
    alive = [life for life in env.lives.values() if life.stage in GROWING or life.stage is Stage.FOSSILIZED]
    is_compared = outcome.numbers.similarity is not None
    if alive and (is_compared or outcome.inner_epoch % SIMILARITY_EVERY == 0 or outcome.facts):
        blueprints = [life.record.blueprint_id for life in alive if life.record is not None]
        events.append(
            SeedDiversity(
                **where,
                inner_epoch=outcome.inner_epoch,
                active_seeds=len(alive),
                distinct_blueprints=len(set(blueprints)),
                blueprint_entropy=blueprint_diversity(blueprints),
                output_similarity=outcome.numbers.similarity,
            )
        )
    return events


def _rollback(step: Step, where: dict[str, Any]) -> Event:
    panic = step.outcome.panic
    assert panic is not None
    penalty = step.reward.components.get("action_shaping")
    return Rollback(
        **where,
        device=str(step.env.device),
        reason="host restored to its last good state",
        panic_reason=panic.reason,
        inner_epoch=step.outcome.inner_epoch,
        loss_at_panic=panic.loss,
        loss_threshold=panic.loss_threshold,
        consecutive_panics=panic.consecutive,
        triggering_action_id=step.env.last_action_id,
        raw_penalty=penalty,
        rollback_severity=None if penalty is None else abs(penalty),
    )


def _suspicions(env: Environment) -> list[Event]:
    events: list[Event] = []
    for slot_id, life in env.lives.items():
        record = life.record
        # Judged when a blended seed reaches its weight: before that, improvement is still under way.
        if record is None or life.stage is not Stage.HOLDING or record.epochs_in_stage != 1:
            continue
        hack = detectors.reward_hacking(record.contribution, record.improvement)
        if hack is not None:
            is_ratio = hack.pattern == "attribution_ratio"
            events.append(
                RewardHackingSuspected(
                    pattern=hack.pattern,
                    env_id=env.env_id,
                    slot_id=slot_id,
                    seed_id=record.seed_id,
                    seed_contribution=hack.contribution,
                    total_improvement=hack.improvement,
                    ratio=hack.ratio,
                    threshold=detectors.ATTRIBUTION_RATIO if is_ratio else None,
                    contribution_threshold=None if is_ratio else detectors.RANSOM_CONTRIBUTION,
                    degradation_threshold=None if is_ratio else detectors.RANSOM_DEGRADATION,
                )
            )
    return events
