"""Facts of esper-lite's log that the alias of a field cannot express.

Its current spelling where that is nested, positional or differs from a field's first alias; the values that it writes
for what it did not measure; and the names that its own readers insist on. Nothing here decides: see
:mod:`esper_otel.esper_lite.dialect.adapt` and :mod:`esper_otel.esper_lite.dialect.legacy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from esper_otel.events.vocabulary import HEADS, KEY_VALUES, OPS, REWARD_COMPONENTS

SNAPSHOT: Final = "ANALYTICS_SNAPSHOT"
"""The event type that is refined by its payload's ``kind``."""

CURRENT: Final[Mapping[str, Mapping[str, str]]] = {
    "Decision": {
        "head_confidence": "head_telemetry.{key}_confidence",
        "head_choice_entropy": "head_telemetry.{key}_entropy",
    },
    "PolicyUpdate": {"op_q_values": "op_q_values"},
    "RewardComputed": {"components": "{key}", "inner_epoch": "epoch"},
    "SeedSnapshot": {"gradient_health": "grad_ratio"},
}
"""esper-lite's current spelling, by class and field, if it differs from the field's first alias.

``grad_ratio`` of a seed's snapshot is gradient health; the ratio of that name belongs to SEED_STAGE_CHANGED.
"""

FORMER: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "BatchStats": {"explained_variance": ("value_variance",)},
    "EpisodeOutcome": {"episode_reward": ("total_reward",)},
    "PolicyUpdate": {"lstm_l2_total": ("lstm_{key}_norm",)},
}
"""Spellings of esper-lite's earlier versions, read but never written. Its ``value_variance`` was explained variance.

The rule-based trainer calls the reward of an episode ``total_reward``.
"""

COLUMN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {**KEY_VALUES, "component": REWARD_COMPONENTS}
"""Keys of a ``{key}`` alias or a positional list, by the kind of the map's keys."""

_HEAD_TELEMETRY: Final = {"alpha_curve": "curve"}

KEY_SPELLINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "head_telemetry.{key}_confidence": _HEAD_TELEMETRY,
    "head_telemetry.{key}_entropy": _HEAD_TELEMETRY,
    "q_{key}": {op: op.lower() for op in OPS} | {"SET_ALPHA_TARGET": "set_alpha"},
}
"""Spelling of a key inside one alias, if it differs from the key."""

KEY_SCALES: Final[Mapping[str, Mapping[str, float]]] = {
    "RewardComputed.components": {"occupancy_rent": -1.0, "fossilized_rent": -1.0},
}
"""Factors of single columns: these two costs are stored positive and subtracted."""

POSITIONAL: Final = frozenset({"PolicyUpdate.op_q_values", "PolicyUpdate.op_valid_mask"})
"""Maps that are written as lists in the order of their keys."""

ZERO_BASED: Final = frozenset({"PHASE_PROFILE_COMPLETED", "ALLOCATOR_STATS"})
"""Events whose ``batch_idx`` counts from 0, where every other counts from 1."""

BATCH_BASE: Final = "batch_idx_base"
"""Field that our legacy lines add to tell how ``batch_idx`` counts: both vocabularies use the event's name."""

_SEED: Final = ("slot_id", "env_id", "episode_idx")
_TREND: Final = (
    "batch_idx",
    "episodes_completed",
    "rolling_delta",
    "rolling_avg_accuracy",
    "prev_rolling_avg_accuracy",
)
_ANOMALY: Final = ("anomaly_type", "episode", "batch", "inner_epoch", "total_episodes")

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "ALLOCATOR_STATS": (
        *("batch_idx", "device", "allocated_bytes", "reserved_bytes", "fragmentation_bytes"),
        *("num_alloc_retries", "num_ooms"),
    ),
    SNAPSHOT: ("kind", "episode_idx"),
    "BATCH_EPOCH_COMPLETED": (
        *("episodes_completed", "batch_idx", "avg_accuracy", "avg_reward", "total_episodes", "n_envs"),
    ),
    "COUNTERFACTUAL_MATRIX_COMPUTED": ("env_id", "slot_ids", "configs", "episode_idx"),
    "DEGRADATION_DETECTED": _TREND,
    "EPISODE_OUTCOME": (
        *("env_id", "episode_idx", "final_accuracy", "param_ratio", "num_fossilized", "num_contributing_fossilized"),
        *("episode_reward", "stability_score", "reward_mode", "episode_length", "outcome_type", "germinate_count"),
        *("prune_count", "fossilize_count"),
    ),
    "EPOCH_COMPLETED": ("env_id", "val_accuracy", "val_loss", "inner_epoch", "episode_idx", "observation_stats"),
    "GOVERNOR_ROLLBACK": ("env_id", "device", "reason", "episode_idx"),
    "GRADIENT_ANOMALY": _ANOMALY,
    "GRADIENT_PATHOLOGY_DETECTED": _ANOMALY,
    "IMPROVEMENT_DETECTED": _TREND,
    "MEMORY_WARNING": ("gpu_utilization", "gpu_allocated_gb", "gpu_total_gb", "threshold"),
    "MORPHOLOGY_CAUSAL_LOG": (
        *("phase", "env_id", "slot_id", "operation", "action_id", "proposal_id", "verdict_id", "mutation_id"),
        *("observation_hash", "rng_stream", "rng_seed", "topology", "blueprint_id"),
    ),
    "NUMERICAL_INSTABILITY_DETECTED": _ANOMALY,
    "PERFORMANCE_DEGRADATION": (
        *("env_id", "current_acc", "rolling_avg_acc", "drop_percent", "threshold_percent", "episode_idx"),
    ),
    "PLATEAU_DETECTED": _TREND,
    "PPO_UPDATE_COMPLETED": (
        *("policy_loss", "value_loss", "entropy", "grad_norm", "kl_divergence", "clip_fraction", "nan_grad_count"),
        *("pre_clip_grad_norm", "entropy_loss", "advantage_mean", "advantage_std", "advantage_skewness"),
        *("advantage_kurtosis", "advantage_positive_ratio", "ratio_mean", "ratio_min", "ratio_max", "ratio_std"),
        *("log_prob_min", "log_prob_max", "entropy_collapsed", "update_time_ms", "inner_epoch", "batch"),
        *("ppo_updates_count", "value_mean", "value_std", "value_min", "value_max", "op_q_values", "op_valid_mask"),
        *("q_variance", "q_spread", "clip_fraction_positive", "clip_fraction_negative", "gradient_cv"),
        *("dataloader_wait_ratio", "pre_norm_advantage_mean", "pre_norm_advantage_std", "return_mean", "return_std"),
    ),
    "RATIO_COLLAPSE_DETECTED": _ANOMALY,
    "RATIO_EXPLOSION_DETECTED": _ANOMALY,
    "REWARD_HACKING_SUSPECTED": ("pattern", "slot_id", "seed_id", "seed_contribution", "total_improvement"),
    "SEED_FOSSILIZED": (*_SEED, "blueprint_id", "improvement", "params_added"),
    "SEED_GATE_EVALUATED": (*_SEED, "gate", "passed", "target_stage", "checks_passed", "checks_failed"),
    "SEED_GERMINATED": (*_SEED, "blueprint_id", "params", "alpha_curve"),
    "SEED_PRUNED": (*_SEED, "reason"),
    "SEED_STAGE_CHANGED": (*_SEED, "from_stage", "to_stage", "alpha_curve"),
    "TAMIYO_INITIATED": ("env_id", "epoch", "stable_count", "stabilization_epochs", "val_loss", "episode_idx"),
    "TOPOLOGY_MANIFEST_RECORDED": (
        *("manifest_role", "proof_baseline_pair_id", "topology_manifest_version", "topology_manifest_hash"),
        *("topology_manifest_json", "task", "host_topology", "slot_config_hash", "slot_count"),
        *("fossilized_seed_count", "topology_delta_count"),
    ),
    "TRAINING_STARTED": (
        *("n_envs", "max_epochs", "max_batches", "task", "host_params", "slot_ids", "seed", "n_episodes", "lr"),
        *("clip_ratio", "entropy_coef", "param_budget", "policy_device", "env_devices", "reward_mode"),
    ),
    "VALUE_COLLAPSE_DETECTED": _ANOMALY,
}
"""Names that esper-lite's readers require; unmeasured values are written as null."""

REQUIRED_REWARD: Final = (
    *("base_acc_delta", "seed_contribution", "bounded_attribution", "progress_since_germination", "stable_val_acc"),
    *(
        "attribution_discount",
        "escrow_credit_prev",
        "escrow_credit_target",
        "escrow_credit_next",
        "num_fossilized_seeds",
    ),
    *("num_contributing_fossilized", "action_name", "action_success", "seed_stage", "epoch", "val_acc"),
    *("acc_at_germination", "host_baseline_acc", "growth_ratio", "total_reward", "n_active_seeds", "timing_discount"),
    *("drip_this_epoch", "drip_immediate_bonus", "drip_deferred_total", "num_drip_sources", *REWARD_COMPONENTS),
)
"""The same inside ``reward_components``."""

REQUIRED_HEADS: Final = tuple(
    f"{_HEAD_TELEMETRY.get(head, head)}_{figure}" for head in HEADS for figure in ("confidence", "entropy")
)
"""The same inside ``head_telemetry``."""

REQUIRED_LISTS: Final[Mapping[str, int]] = {"op_q_values": len(OPS), "op_valid_mask": len(OPS)}
"""Required lists of fixed length; where nothing was measured they hold that many nulls."""
