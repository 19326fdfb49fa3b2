"""Tamiyo's events: policy updates, skipped updates, the health of observations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from esper_otel.events import Event, ObservationStats, PolicyUpdate, UpdateSkipped
from trainer.recipes import Recipe
from trainer.simic.emission.scaling import ScalerTally
from trainer.simic.observer import RoundEnd
from trainer.tamiyo.actions import HEADS, Op
from trainer.tamiyo.reports import SkipReport, UpdateReport

COUNTS: Final = frozenset(
    {
        "trust_region_violations",
        "log_prob_underflow_count",
        "action_diversity",
        "usable_actor_timesteps",
    }
)
"""Fields that count; they come off the device as floats."""

COLLAPSED_ENTROPY: Final = 0.1
"""The policy as a whole has collapsed when no head keeps a tenth of its maximal entropy."""

FLAGS: Final = frozenset({"ev_low_return_variance", "advantage_std_floored"})


def updates(end: RoundEnd, recipe: Recipe, scaling: ScalerTally) -> Iterator[tuple[PolicyUpdate, int]]:
    """One event per policy update of a round, with the time in ns of its end."""
    flags = [update.values.get("ev_low_return_variance") for update in end.learn.updates]
    low_variance = None if None in flags else sum(map(bool, flags))
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
            **_flow(update),
            **scaling.fields(is_first=update.ppo_update_idx == 1),
        )
        yield event, update.started_ns + int(update.update_time_s * 1e9)


def _scalars(update: UpdateReport) -> dict[str, Any]:
    values: dict[str, Any] = {name: _typed(name, value) for name, value in update.values.items()}
    entropies = _measured(update.maps.get("head_entropy", {}))
    if entropies:
        values["entropy_collapsed"] = max(entropies.values()) < COLLAPSED_ENTROPY
    return values


def _flow(update: UpdateReport) -> dict[str, Any]:
    flow = update.flow
    if flow is None:
        return {}
    return {
        "grad_norm_per_layer": flow.norm_per_layer,
        "grad_zero_fraction": flow.zero_fraction,
        "grad_norm_ratio": flow.norm_ratio,
        "grad_nan_layers": flow.nan_layers,
        "dead_layers": flow.dead_layers,
        "exploding_layers": flow.exploding_layers,
        "layer_gradient_health": flow.health,
        "nan_grad_count": flow.nan_entries,
        "inf_grad_count": flow.inf_entries,
    }


def _typed(name: str, value: float) -> float | int | bool:
    if name in FLAGS:
        return bool(value)
    return int(value) if name in COUNTS else value


def _maps(update: UpdateReport) -> dict[str, Any]:
    maps: dict[str, Any] = {name: _measured(values) for name, values in update.maps.items()}
    if not maps:
        return {}
    maps["op_distribution"] = {Op(int(index)).name: share for index, share in maps["op_distribution"].items()} or None
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
        grad_nan_layers=skip.nonfinite_parameters,
        consecutive=skip.consecutive,
    )


def observation_stats(epoch: int, health: dict[str, float], env_ids: range) -> Event:
    """Health of the observations of one step over this rank's environments, reported by the first of them."""
    counts = {"nan_count", "inf_count"}
    values: dict[str, Any] = {name: int(value) if name in counts else value for name, value in health.items()}
    return ObservationStats(env_id=env_ids[0], inner_epoch=epoch, batch_size=len(env_ids), **values)
