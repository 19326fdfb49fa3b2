"""Tamiyo's events: policy updates, skipped updates, the health of observations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from esper_otel.events import Event, ObservationStats, PolicyUpdate, UpdateSkipped
from trainer.recipes import Recipe
from trainer.simic.observer import RoundEnd
from trainer.tamiyo.actions import HEADS, Op
from trainer.tamiyo.ppo import SkipReport, UpdateReport

COUNTS: Final = frozenset(
    {
        "trust_region_violations",
        "nan_grad_count",
        "inf_grad_count",
        "dead_layers",
        "exploding_layers",
        "log_prob_underflow_count",
        "action_diversity",
        "usable_actor_timesteps",
    }
)
"""Fields that count; they come off the device as floats."""

FLAGS: Final = frozenset({"ev_low_return_variance", "advantage_std_floored"})


def updates(end: RoundEnd, recipe: Recipe) -> Iterator[tuple[PolicyUpdate, int]]:
    """One event per policy update of a round, with the time in ns at which it was over."""
    low_variance = sum(bool(update.values["ev_low_return_variance"]) for update in end.learn.updates)
    for update in end.learn.updates:
        event = PolicyUpdate(
            ppo_update_idx=update.ppo_update_idx,
            ppo_updates_count=update.ppo_update_idx,
            batch=end.batch,
            episodes_completed=end.episodes_completed,
            inner_epoch=recipe.environment.episode_length,
            early_stop_epoch=update.ppo_update_idx if update.stopped_early else None,
            update_time_ms=update.update_time_s * 1e3,
            lr=end.learn.lr,
            entropy_coef=end.learn.entropy_coef,
            ev_low_return_variance_count=low_variance,
            rollback_count=end.rollbacks,
            rollback_attempt_count=end.rollbacks,
            rollback_unattributed_count=0,  # Every rollback here follows a step that was executed.
            **_scalars(update),
            **_maps(update),
        )
        yield event, update.started_ns + int(update.update_time_s * 1e9)


def _scalars(update: UpdateReport) -> dict[str, Any]:
    entropies = _measured(update.maps["head_entropy"])
    values: dict[str, Any] = {name: _typed(name, value) for name, value in update.values.items()}
    values["entropy_collapsed"] = bool(entropies) and max(entropies.values()) < 0.1
    return values


def _typed(name: str, value: float) -> float | int | bool:
    if name in FLAGS:
        return bool(value)
    return int(value) if name in COUNTS else value


def _maps(update: UpdateReport) -> dict[str, Any]:
    maps: dict[str, Any] = {name: _measured(values) for name, values in update.maps.items()}
    maps["op_distribution"] = {Op(int(index)).name: share for index, share in maps["op_distribution"].items()}
    norms, learnable = maps["head_grad_norm"], maps["head_learnable_fraction"]
    maps["head_gradient_state"] = {
        head: _gradient_state(norms.get(head), learnable.get(head, 1.0)) for head in (*HEADS, "value")
    }
    maps["head_nan_detected"] = {head: math.isnan(value) for head, value in update.maps["head_grad_norm"].items()}
    maps["head_inf_detected"] = {head: math.isinf(value) for head, value in update.maps["head_grad_norm"].items()}
    return maps


def _measured(values: dict[str, float]) -> dict[str, float]:
    """A head that never mattered in a batch yields NaN from 0 / 0; that is "not measured"."""
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _gradient_state(norm: float | None, learnable: float) -> str:
    if norm is None or not math.isfinite(norm):
        return "nonfinite"
    return "finite" if learnable > 0.0 else "not_learnable"


def skipped(end: RoundEnd, skip: SkipReport) -> Event:
    """An update that changed nothing."""
    return UpdateSkipped(
        reason=skip.reason,
        batch=end.batch,
        ppo_update_idx=skip.ppo_update_idx,
        episodes_completed=end.episodes_completed,
        pre_clip_grad_norm=skip.pre_clip_grad_norm,
        loss=skip.loss,
        consecutive=skip.consecutive,
    )


def observation_stats(epoch: int, health: dict[str, float], n_envs: int) -> Event:
    """Health of the observations of one step over all environments, reported by environment 0."""
    counts = {"nan_count", "inf_count"}
    values: dict[str, Any] = {name: int(value) if name in counts else value for name, value in health.items()}
    return ObservationStats(env_id=0, inner_epoch=epoch, batch_size=n_envs, **values)
