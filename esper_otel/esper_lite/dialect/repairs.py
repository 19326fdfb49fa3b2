"""Removal of values that esper-lite wrote without having measured them, before the payload is read.

Its log says 0, -1, False or an empty text where nothing was measured; our events say nothing. Every repair names one
such habit. They apply to esper-lite's own lines only: in ours a 0 was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from esper_otel.esper_lite.dialect.table import BATCH_BASE, ZERO_BASED

Payload = dict[str, Any]
Repair = Callable[[Payload], None]
"""Changes a payload in place."""

_SEED_GRADIENTS: Final = ("grad_ratio", "has_vanishing", "has_exploding")

_SEED_INTERACTION: Final = ("contribution_velocity", "interaction_sum", "boost_received")

_ANOMALIES: Final = (
    "GRADIENT_ANOMALY",
    "GRADIENT_PATHOLOGY_DETECTED",
    "NUMERICAL_INSTABILITY_DETECTED",
    "RATIO_COLLAPSE_DETECTED",
    "RATIO_EXPLOSION_DETECTED",
    "VALUE_COLLAPSE_DETECTED",
)


def repair(key: str, payload: Payload, *, foreign: bool) -> None:
    """Remove unmeasured values from ``payload``, and count its batch from 1.

    Args:
        key: event type, with ``:kind`` for a snapshot.
        payload: changed in place.
        foreign: the line was written by esper-lite.
    """
    if foreign:
        _env_placeholder(payload)
        for each in _REPAIRS.get(key, ()):
            each(payload)
    if key in ZERO_BASED:
        _count_from_one(payload, foreign)


def _env_placeholder(payload: Payload) -> None:
    if payload.get("env_id") == -1:
        del payload["env_id"]


def _count_from_one(payload: Payload, foreign: bool) -> None:
    base = payload.pop(BATCH_BASE, 0 if foreign else 1)
    number = payload.get("batch_idx")
    if isinstance(number, int) and isinstance(base, int) and not isinstance(number, bool):
        payload["batch_idx"] = number + 1 - base


def _never_set(name: str, value: object) -> Repair:
    def drop(payload: Payload) -> None:
        found = payload.get(name)
        if type(found) is type(value) and found == value:
            del payload[name]

    return drop


def _drop(name: str) -> Repair:
    def drop(payload: Payload) -> None:
        payload.pop(name, None)

    return drop


def _norm_before_clipping_twice(payload: Payload) -> None:
    """Since 2026-01-02 ``grad_norm`` repeats the norm before clipping; the norm after it is not reported."""
    if payload.get("pre_clip_grad_norm") is not None and payload.get("grad_norm") == payload["pre_clip_grad_norm"]:
        del payload["grad_norm"]


def _layers_without_their_health(payload: Payload) -> None:
    """Layers are counted at debug level only, when their health is reported too."""
    if payload.get("layer_gradient_health") is None:
        for name in ("dead_layers", "exploding_layers", "nan_grad_count", "inf_grad_count"):
            _never_set(name, 0)(payload)


def _unknown_q_values(payload: Payload) -> None:
    values = payload.get("op_q_values")
    if isinstance(values, list):
        payload["op_q_values"] = [None if _is_nan(value) else value for value in values]


def _is_nan(value: object) -> bool:
    return value == "NaN" or (isinstance(value, float) and math.isnan(value))


def _resume_figures(payload: Payload) -> None:
    if payload.get("requested_episodes") == 0:
        del payload["requested_episodes"]
        _never_set("start_episode", 0)(payload)


def _gradients_at_birth(payload: Payload) -> None:
    for name in _SEED_GRADIENTS:
        payload.pop(name, None)


def _gradients_before_training(payload: Payload) -> None:
    """A seed that leaves GERMINATED was never trained."""
    if payload.get("from_stage") == "GERMINATED":
        _gradients_at_birth(payload)


def _unmeasured_seed_gradients(payload: Payload) -> None:
    """Remove health 0 without a flag, which means that the seed's gradients were not measured."""
    seeds = payload.get("seeds")
    for seed in seeds.values() if isinstance(seeds, dict) else ():
        if isinstance(seed, dict) and not any(seed.get(name) for name in _SEED_GRADIENTS):
            _gradients_at_birth(seed)


def _interaction_before_blending(payload: Payload) -> None:
    """Remove zeros of a seed that has no weight yet: its contribution is not measured."""
    seeds = payload.get("seeds")
    for seed in seeds.values() if isinstance(seeds, dict) else ():
        if isinstance(seed, dict) and not seed.get("alpha"):
            for name in _SEED_INTERACTION:
                _never_set(name, 0.0)(seed)


def _outside_any_batch(payload: Payload) -> None:
    if payload.get("batch") == 0:
        del payload["batch"]
        _never_set("episode", 0)(payload)


_REPAIRS: Final[Mapping[str, tuple[Repair, ...]]] = {
    "BATCH_EPOCH_COMPLETED": (_resume_figures,),
    "COUNTERFACTUAL_MATRIX_COMPUTED": (_never_set("compute_time_ms", 0.0),),
    "EPOCH_COMPLETED": (_unmeasured_seed_gradients, _interaction_before_blending),
    "PERFORMANCE_DEGRADATION": (_drop("env_id"),),
    "PPO_UPDATE_COMPLETED": (
        _norm_before_clipping_twice,
        _layers_without_their_health,
        _unknown_q_values,
        _never_set("entropy_loss", 0.0),
        _never_set("amp_overflow_detected", False),
        _never_set("cuda_memory_allocated_gb", 0.0),
        _never_set("cuda_memory_reserved_gb", 0.0),
        _never_set("cuda_memory_peak_gb", 0.0),
        _never_set("cuda_memory_fragmentation", 0.0),
    ),
    "SEED_GERMINATED": (_gradients_at_birth,),
    "SEED_STAGE_CHANGED": (_gradients_before_training,),
    "SEED_PRUNED": (_never_set("reason", ""),),
    "TRAINING_STARTED": (_never_set("resume_path", ""), _never_set("amp_enabled", False)),
    **dict.fromkeys(_ANOMALIES, (_outside_any_batch,)),
}
