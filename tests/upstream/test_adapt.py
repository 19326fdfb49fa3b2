"""What a single line of a log says, whoever wrote it and however it is spelled or damaged."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.esper_lite.dialect.adapt import Adapted, adapt
from esper_otel.esper_lite.dialect.recipes import RECIPES
from esper_otel.events import (
    EVENT_TYPES,
    ActionDistribution,
    AllocatorStats,
    BatchCompleted,
    BatchStats,
    Decision,
    EpochCompleted,
    Event,
    GradientAnomaly,
    NumericalInstability,
    ObservationStats,
    PerformanceDegradation,
    PhaseProfile,
    PolicyUpdate,
    RewardComputed,
    Rollback,
    SeedConfiguration,
    SeedGerminated,
    SeedPruned,
    SeedSnapshot,
    SeedStageChanged,
    ShapleyComputed,
    ShapleyValue,
    TamiyoInitiated,
    Throughput,
    TrainingStarted,
    UpdateSkipped,
)
from esper_otel.log.envelope import Record
from tests.upstream.log_lines import foreign, ours

SNAPSHOT = "ANALYTICS_SNAPSHOT"

SAYS: list[tuple[str, dict[str, Any], tuple[Event, ...]]] = [
    (
        "PPO_UPDATE_COMPLETED",
        {"policy_loss": 0.5, "batch": 1, "v_return_correlation": 0.2},
        (PolicyUpdate(policy_loss=0.5, batch=1, value_target_correlation=0.2),),
    ),
    ("EPOCH_COMPLETED", {"env_id": 1, "host_grad_norm": 2.0}, (EpochCompleted(env_id=1, host_grad_norm_pre_clip=2.0),)),
    (
        "EPOCH_COMPLETED",
        {"env_id": 0, "observation_stats": {"nan_count": 3}, "inner_epoch": 4},
        (EpochCompleted(env_id=0, inner_epoch=4), ObservationStats(env_id=0, inner_epoch=4, nan_count=3)),
    ),
    ("BATCH_EPOCH_COMPLETED", {"batch_idx": 2}, (BatchCompleted(batch_idx=2),)),
    ("GOVERNOR_ROLLBACK", {"panic_reason": "governor_nan"}, (Rollback(panic_reason="governor_nan"),)),
    (
        SNAPSHOT,
        {"kind": "last_action", "env_id": 0, "inner_epoch": 2, "op_masked": True, "reward_components": {"epoch": 2}},
        (Decision(env_id=0, inner_epoch=2, head_forced={"op": True}), RewardComputed(env_id=0, inner_epoch=2)),
    ),
    (
        SNAPSHOT,
        {"kind": "batch_stats", "batch": 3, "skipped_update": True},
        (BatchStats(batch=3, skipped_update=True), UpdateSkipped(reason="unspecified", batch=3)),
    ),
    (
        SNAPSHOT,
        {"kind": "action_distribution", "action_counts": {"WAIT": 4}},
        (ActionDistribution(action_counts={"WAIT": 4}),),
    ),
    (SNAPSHOT, {"kind": "throughput", "fps": 2.5}, (Throughput(fps=2.5),)),
    (
        SNAPSHOT,
        {"kind": "shapley_computed", "shapley_values": {"r0c0": {"mean": 1.0, "std": 0.0, "n_samples": 0}}},
        (ShapleyComputed(shapley_values={"r0c0": ShapleyValue(mean=1.0, std=0.0, n_samples=0)}),),
    ),
    ("TAMIYO_POLICY_UPDATE", {"policy_loss": 0.5}, (PolicyUpdate(policy_loss=0.5),)),
]


@pytest.mark.parametrize(("event_type", "payload", "events"), SAYS)
def test_old_and_new_lines_become_events_of_their_domain(
    event_type: str, payload: dict[str, Any], events: tuple[Event, ...]
) -> None:
    assert Adapted(events) == adapt(foreign(event_type, payload))


KINDS = (
    *("last_action", "batch_stats", "action_distribution", "summary_table", "shapley_computed", "throughput"),
    *("reward_summary", "mask_hit_rates", "heuristic_config", "heuristic_episode", "heuristic_warning"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_snapshot_is_understood(kind: str) -> None:
    assert adapt(foreign(SNAPSHOT, {"kind": kind})).reason is None


def test_a_skipped_update_is_no_policy_update() -> None:
    adapted = adapt(foreign("PPO_UPDATE_COMPLETED", {"skipped": True, "batch": 2, "policy_loss": 0.0}))

    assert Adapted((UpdateSkipped(reason="unspecified", batch=2),)) == adapted


def test_the_january_columns_of_q_values_become_a_map() -> None:
    payload = {"q_germinate": 1.0, "q_set_alpha": 2.0, "q_wait": 3.0, "q_variance": 0.5}

    (event,) = adapt(foreign("PPO_UPDATE_COMPLETED", payload)).events

    assert PolicyUpdate(op_q_values={"GERMINATE": 1.0, "SET_ALPHA_TARGET": 2.0, "WAIT": 3.0}, q_variance=0.5) == event


def test_the_january_name_of_explained_variance_is_understood() -> None:
    payload = {"kind": "batch_stats", "value_variance": 0.25}

    assert Adapted((BatchStats(explained_variance=0.25),)) == adapt(foreign(SNAPSHOT, payload))


def test_a_positional_list_with_more_entries_than_operations_is_mistyped() -> None:
    adapted = adapt(foreign("PPO_UPDATE_COMPLETED", {"op_q_values": [0.0] * 7}))

    assert Adapted((PolicyUpdate(),), mistyped=("op_q_values",)) == adapted


def test_positional_q_values_become_a_map_without_the_unknown_ones() -> None:
    payload = {"op_q_values": [0.5, math.nan, math.nan, math.nan, math.nan, 0.25], "op_valid_mask": [True, False]}

    (event,) = adapt(foreign("PPO_UPDATE_COMPLETED", payload)).events

    assert (
        PolicyUpdate(op_q_values={"WAIT": 0.5, "ADVANCE": 0.25}, op_valid_mask={"WAIT": True, "GERMINATE": False})
        == event
    )


def test_head_telemetry_becomes_maps_by_head() -> None:
    inner = {"op_confidence": 0.5, "curve_confidence": 0.25, "curve_entropy": 1.0}

    (event,) = adapt(foreign(SNAPSHOT, {"kind": "last_action", "head_telemetry": inner})).events

    assert Decision(head_confidence={"op": 0.5, "alpha_curve": 0.25}, head_choice_entropy={"alpha_curve": 1.0}) == event


def test_reward_components_that_older_lines_spread_over_the_payload_are_a_reward_too() -> None:
    adapted = adapt(foreign(SNAPSHOT, {"kind": "last_action", "env_id": 0, "action_name": "WAIT", "stage_bonus": 0.5}))

    assert (
        Adapted((Decision(env_id=0, action_name="WAIT"), RewardComputed(env_id=0, components={"stage_bonus": 0.5})))
        == adapted
    )


def test_costs_that_are_stored_positive_become_signed_addends() -> None:
    inner = {"occupancy_rent": 0.25, "fossilized_rent": 0.5, "compute_rent": -1.0}

    (event,) = adapt(foreign(SNAPSHOT, {"kind": "last_action", "reward_components": inner})).events

    assert RewardComputed(components={"occupancy_rent": -0.25, "fossilized_rent": -0.5, "compute_rent": -1.0}) == event


@pytest.mark.parametrize(
    ("event_type", "payload", "event"),
    [
        ("SEED_GERMINATED", {"env_id": -1, "params": 5}, SeedGerminated(params=5)),
        ("SEED_GERMINATED", {"grad_ratio": 0.0, "has_vanishing": False, "has_exploding": False}, SeedGerminated()),
        ("SEED_PRUNED", {"reason": ""}, SeedPruned()),
        ("PERFORMANCE_DEGRADATION", {"env_id": 0, "current_acc": 5.0}, PerformanceDegradation(current_acc=5.0)),
        ("NUMERICAL_INSTABILITY_DETECTED", {"batch": 0, "episode": 0}, NumericalInstability()),
        ("GRADIENT_ANOMALY", {"batch": 1, "episode": 0}, GradientAnomaly(batch=1, episode=0)),
        ("PPO_UPDATE_COMPLETED", {"cuda_memory_peak_gb": 0.0, "amp_overflow_detected": False}, PolicyUpdate()),
        ("PPO_UPDATE_COMPLETED", {"grad_norm": 7.5, "pre_clip_grad_norm": 7.5}, PolicyUpdate(pre_clip_grad_norm=7.5)),
        ("PPO_UPDATE_COMPLETED", {"dead_layers": 0, "exploding_layers": 0}, PolicyUpdate()),
        ("BATCH_EPOCH_COMPLETED", {"start_episode": 0, "requested_episodes": 0}, BatchCompleted()),
        ("TRAINING_STARTED", {"resume_path": "", "amp_enabled": False}, TrainingStarted()),
    ],
)
def test_what_esper_lite_did_not_measure_is_absent(event_type: str, payload: dict[str, Any], event: Event) -> None:
    assert Adapted((event,)) == adapt(foreign(event_type, payload))


def test_a_seed_without_measured_gradients_has_no_gradient_health() -> None:
    seeds = {
        "r0c0": {"alpha": 0.5, "grad_ratio": 0.0, "has_vanishing": False, "has_exploding": False},
        "r0c1": {"alpha": 0.5, "grad_ratio": 0.0, "has_vanishing": True, "has_exploding": False},
    }

    (event,) = adapt(foreign("EPOCH_COMPLETED", {"seeds": seeds})).events

    assert (
        EpochCompleted(
            seeds={
                "r0c0": SeedSnapshot(alpha=0.5),
                "r0c1": SeedSnapshot(alpha=0.5, gradient_health=0.0, has_vanishing=True, has_exploding=False),
            }
        )
        == event
    )


def test_a_seed_without_weight_has_no_interaction_and_one_with_weight_has_it_even_if_0() -> None:
    zeros = {"interaction_sum": 0.0, "boost_received": 0.0, "contribution_velocity": 0.0}
    seeds = {
        "r0c0": {"alpha": 0.0, **zeros},
        "r0c1": {"alpha": 0.5, **zeros},
        "r0c2": {"alpha": 0.0, "boost_received": 1.0},
    }

    (event,) = adapt(foreign("EPOCH_COMPLETED", {"seeds": seeds})).events

    assert {
        "r0c0": SeedSnapshot(alpha=0.0),
        "r0c1": SeedSnapshot(alpha=0.5, **zeros),
        "r0c2": SeedSnapshot(alpha=0.0, boost_received=1.0),
    } == event.seeds


def test_the_gradient_ratio_of_a_stage_change_is_not_gradient_health() -> None:
    (event,) = adapt(foreign("SEED_STAGE_CHANGED", {"grad_ratio": 0.25})).events

    assert SeedStageChanged(grad_ratio=0.25) == event


@pytest.mark.parametrize(
    ("event_type", "cls"), [("PHASE_PROFILE_COMPLETED", PhaseProfile), ("ALLOCATOR_STATS", AllocatorStats)]
)
def test_batches_that_esper_lite_counts_from_zero_count_from_one(
    event_type: str, cls: type[PhaseProfile | AllocatorStats]
) -> None:
    assert Adapted((cls(batch_idx=1),)) == adapt(foreign(event_type, {"batch_idx": 0}))
    assert Adapted((cls(batch_idx=1),)) == adapt(ours(event_type, {"batch_idx": 1}))


def test_zeros_and_flags_of_our_own_lines_were_measured() -> None:
    payload: dict[str, Any] = {
        "cuda_memory_peak_gb": 0.0,
        "amp_overflow_detected": False,
        "grad_norm": 1.0,
        "pre_clip_grad_norm": 1.0,
    }

    assert Adapted((PolicyUpdate(**payload),)) == adapt(ours("TAMIYO_POLICY_UPDATE", payload))


def test_the_envelope_says_what_the_payload_does_not() -> None:
    envelope: dict[str, Any] = {"seed_id": "ep0_env0_seed_0", "slot_id": "r0c0", "epoch": 6}

    germinated = adapt(foreign("SEED_GERMINATED", {"slot_id": "r0c1"}, **envelope)).events
    update = adapt(foreign("PPO_UPDATE_COMPLETED", {"inner_epoch": 25}, epoch=6)).events

    assert (SeedGerminated(seed_id="ep0_env0_seed_0", slot_id="r0c1", epoch=6),) == germinated
    assert (PolicyUpdate(inner_epoch=25, episodes_completed=6),) == update


def test_numbers_that_came_as_text_are_numbers_and_non_finite_ones_survive() -> None:
    payload = {
        "kind": "last_action",
        "decision_entropy": "0.69313073",
        "value_estimate": "NaN",
        "total_reward": "-Infinity",
    }

    (event,) = adapt(foreign(SNAPSHOT, payload)).events

    assert isinstance(event, Decision)
    assert (0.69313073, -math.inf) == (event.decision_entropy, event.total_reward)
    assert event.value_estimate is not None
    assert math.isnan(event.value_estimate)


def test_integers_beyond_64_bits_are_exact() -> None:
    assert Adapted((SeedPruned(rng_seed=2**64 + 1),)) == adapt(foreign("SEED_PRUNED", {"rng_seed": 2**64 + 1}))


def test_one_odd_field_costs_no_other_and_is_named() -> None:
    payload = {
        "val_loss": "low",
        "val_accuracy": 12,
        "env_id": 1.5,
        "novelty": 1,
        "seeds": {"r0c0": {"alpha": [], "x": 1}},
    }

    adapted = adapt(foreign("EPOCH_COMPLETED", payload))

    assert (EpochCompleted(val_accuracy=12.0, seeds={"r0c0": SeedSnapshot()}),) == adapted.events
    assert ("novelty", "seeds.r0c0.x") == adapted.unknown_fields
    assert ("val_loss", "env_id", "seeds.r0c0.alpha") == adapted.mistyped


def test_our_own_lines_may_hold_fields_of_a_later_version() -> None:
    adapted = adapt(ours("TAMIYO_POLICY_UPDATE", {"policy_loss": 1.0, "from_the_future": 1}))

    assert Adapted((PolicyUpdate(policy_loss=1.0),), unknown_fields=("from_the_future",)) == adapted


def test_what_is_inside_a_reward_is_named_by_its_place() -> None:
    payload = {"kind": "last_action", "reward_components": {"total_reward": [], "novelty": 1}}

    adapted = adapt(foreign(SNAPSHOT, payload))

    assert (("reward_components.novelty",), ("reward_components.total_reward",)) == (
        adapted.unknown_fields,
        adapted.mistyped,
    )


def test_a_part_that_is_no_object_is_mistyped_and_costs_no_other() -> None:
    adapted = adapt(foreign(SNAPSHOT, {"kind": "last_action", "action_name": "WAIT", "reward_components": 5}))

    assert Adapted((Decision(action_name="WAIT"),), mistyped=("reward_components",)) == adapted


def test_counterfactual_patterns_are_structs() -> None:
    payload = {"slot_ids": ["r0c0"], "configs": [{"seed_mask": [True], "accuracy": 50}], "compute_time_ms": 0.0}

    (event,) = adapt(foreign("COUNTERFACTUAL_MATRIX_COMPUTED", payload)).events

    assert (SeedConfiguration(seed_mask=(True,), accuracy=50.0),) == event.configs  # type: ignore[attr-defined]


@pytest.mark.parametrize("event_type", ["ISOLATION_VIOLATION", "", "ANALYTICS_SNAPSHOT"])
def test_a_type_or_kind_that_nobody_declared_is_unknown(event_type: str) -> None:
    assert Adapted(reason="unknown_event_type") == adapt(foreign(event_type, {"kind": "novelty"}))


@pytest.mark.parametrize("data", [b"[1]", b"{", b'"text"', b"\xff", b"[" * 100_000])
def test_a_payload_that_is_no_object_is_undecodable(data: bytes) -> None:
    assert Adapted(reason="undecodable") == adapt(Record("id", "SEED_PRUNED", 0, data=data))


def test_an_event_without_what_it_cannot_do_without_is_undecodable() -> None:
    assert "undecodable" == adapt(ours("RUN_ENDED", {"detail": "no outcome"})).reason


def test_an_event_without_payload_still_happened() -> None:
    assert Adapted((TamiyoInitiated(epoch=4),)) == adapt(Record("id", "TAMIYO_INITIATED", 0, epoch=4))


def test_every_declared_event_has_a_recipe_under_each_of_its_names() -> None:
    for cls in EVENT_TYPES.values():
        names = {cls.event_type, cls.legacy_type or cls.event_type}
        keys = {f"{name}:{cls.legacy_kind}" if name == SNAPSHOT else name for name in names}
        for key in keys:
            assert cls in {part.cls for part in RECIPES[key]}, key


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    (
        *("kind", "env_id", "seeds", "phases", "op_q_values", "reward_components", "observation_stats"),
        *("head_telemetry", "shapley_values", "configs", "batch", "batch_idx", "batch_idx_base", "grad_norm"),
        *("skipped", "alternatives"),
    )
)


@given(
    event_type=st.sampled_from([*EVENT_TYPES, SNAPSHOT, "EPOCH_COMPLETED", "PPO_UPDATE_COMPLETED"]),
    payload=st.dictionaries(NAMES, JSON, max_size=4) | JSON,
    kind=st.sampled_from(KINDS),
    own=st.booleans(),
)
def test_no_payload_whatever_raises(event_type: str, payload: Any, kind: str, own: bool) -> None:
    if isinstance(payload, dict):
        payload.setdefault("kind", kind)

    adapted = adapt((ours if own else foreign)(event_type, payload))

    assert bool(adapted.events) == (adapted.reason is None)
