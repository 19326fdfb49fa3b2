"""The events are those of the plan: its Appendix A by name and domain, Appendices C and D by field."""

from __future__ import annotations

import re
import typing
from typing import Any

import msgspec
import pytest

from esper_otel import events
from esper_otel.esper_lite.dialect.spelling import spelling_of
from esper_otel.events import EVENT_TYPES, Domain, EpochCompleted, Event, InfrastructureSnapshot, PolicyUpdate, Tier
from esper_otel.events.vocabulary import HEADS
from esper_otel.signals.registry import declared_fields, walk

APPENDIX_A = {
    Domain.TAMIYO: ("TAMIYO_POLICY_UPDATE", "TAMIYO_INITIATED"),
    Domain.TOLARIA: ("TOLARIA_EPOCH_COMPLETED", "TOLARIA_BATCH_COMPLETED", "TOLARIA_ROLLBACK"),
    Domain.KASMINA: (
        *("SEED_GERMINATED", "SEED_STAGE_CHANGED", "SEED_GATE_EVALUATED", "SEED_FOSSILIZED", "SEED_PRUNED"),
    ),
    Domain.SIMIC: (
        *("PLATEAU_DETECTED", "DEGRADATION_DETECTED", "IMPROVEMENT_DETECTED", "TRAINING_STARTED", "CHECKPOINT_LOADED"),
        *("EPISODE_OUTCOME", "COUNTERFACTUAL_MATRIX_COMPUTED", "GRADIENT_ANOMALY", "RATIO_EXPLOSION_DETECTED"),
        *("RATIO_COLLAPSE_DETECTED", "VALUE_COLLAPSE_DETECTED", "GRADIENT_PATHOLOGY_DETECTED"),
        *("NUMERICAL_INSTABILITY_DETECTED", "PERFORMANCE_DEGRADATION", "MEMORY_WARNING", "REWARD_HACKING_SUSPECTED"),
    ),
}
FOUND_MISSING = (
    *("RUN_ENDED", "HEARTBEAT", "PHASE_PROFILE_COMPLETED", "ALLOCATOR_STATS", "TOLARIA_INFRASTRUCTURE_SNAPSHOT"),
    "KASMINA_SEED_DIVERSITY",
)
SNAPSHOT_KINDS = {
    "last_action": {Domain.TAMIYO, Domain.SIMIC},
    "action_distribution": {Domain.TAMIYO},
    "mask_hit_rates": {Domain.TAMIYO},
    "throughput": {Domain.TOLARIA},
    "batch_stats": {Domain.SIMIC},
    "reward_summary": {Domain.SIMIC},
    "shapley_computed": {Domain.SIMIC},
    "summary_table": {Domain.SIMIC},
    "heuristic_config": {Domain.SIMIC},
    "heuristic_episode": {Domain.SIMIC},
    "heuristic_warning": {Domain.SIMIC},
}
RENAMED = {
    "TAMIYO_POLICY_UPDATE": "PPO_UPDATE_COMPLETED",
    "TOLARIA_EPOCH_COMPLETED": "EPOCH_COMPLETED",
    "TOLARIA_BATCH_COMPLETED": "BATCH_EPOCH_COMPLETED",
    "TOLARIA_ROLLBACK": "GOVERNOR_ROLLBACK",
}

APPENDIX_C = {
    "C.1": ("pre_clip_grad_norm", "ppo_update_idx"),
    "C.2": ("approx_kl_max", "kl_reverse", "trust_region_violations"),
    "C.3": (
        *("value_prediction_error_mean", "value_prediction_error_std", "td_error_mean", "return_mean", "return_std"),
        "value_target_correlation",
    ),
    "C.4": ("head_kl", "head_clip_fraction", "head_active_ratio", "causal_mask_coverage"),
    "C.5": ("policy_determinism", "action_diversity", "dominant_action_ratio", "op_distribution"),
    "C.6": ("log_prob_underflow_count", "numerical_stability_score", "grad_clip_fraction"),
    "C.7": ("valid_sample_ratio", "policy_update_magnitude", "gradient_utilization"),
}
APPENDIX_D: dict[str, tuple[type[Event], tuple[str, ...]]] = {
    "D.1": (
        InfrastructureSnapshot,
        ("compile_graph_breaks", "compile_recompilations", "compile_cache_hits", "dynamo_guard_failures"),
    ),
    "D.2": (
        InfrastructureSnapshot,
        (
            *("gpu_utilization_pct", "cuda_memory_active_gb", "cuda_memory_inactive_gb", "cuda_oom_events"),
            "memory_allocated_delta_gb",
        ),
    ),
    "D.3": (
        EpochCompleted,
        (
            *("forward_time_ms", "backward_time_ms", "optimizer_step_time_ms", "data_transfer_time_ms"),
            "host_epoch_time_ms",
        ),
    ),
    "D.4, host": (EpochCompleted, ("grad_norm_per_layer", "grad_zero_fraction", "grad_norm_ratio", "grad_nan_layers")),
    "D.4, policy": (PolicyUpdate, ("grad_norm_per_layer", "grad_zero_fraction", "grad_norm_ratio", "grad_nan_layers")),
    "D.5": (PolicyUpdate, ("loss_scale_updates", "amp_overflow_count", "grad_scaler_state")),
    "D.6": (EpochCompleted, ("host_train_loss", "host_grad_norm_pre_clip", "host_lr")),
    "D.7": (
        InfrastructureSnapshot,
        (
            *("cuda_memory_allocated_gb", "cuda_memory_reserved_gb", "cuda_memory_active_gb"),
            *("cuda_memory_inactive_gb", "cuda_memory_peak_gb", "cuda_memory_fragmentation", "gpu_utilization_pct"),
            *("gpu_memory_bandwidth_pct", "compile_graph_breaks", "compile_recompilations", "compile_cache_hits"),
            *("compile_cache_misses", "avg_forward_time_ms", "avg_backward_time_ms", "avg_optimizer_time_ms"),
            *("avg_data_transfer_time_ms", "batch_window"),
        ),
    ),
}
MEDIUM = ("compile_graph_breaks", "compile_recompilations", "compile_cache_hits", "dynamo_guard_failures")
HEALTHY_DEFAULTS = "a field that was not measured is absent"


def all_structs() -> list[type[msgspec.Struct]]:
    """Every event class and every struct that an event holds."""
    found: list[type[msgspec.Struct]] = list(EVENT_TYPES.values())
    for name in events.__all__:
        candidate = getattr(events, name)
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct) and candidate not in (*found, Event):
            found.append(candidate)
    return found


@pytest.mark.parametrize(
    ("domain", "event_type"), [(domain, name) for domain, names in APPENDIX_A.items() for name in names]
)
def test_every_event_type_of_the_plan_exists_in_its_domain(domain: Domain, event_type: str) -> None:
    assert domain == EVENT_TYPES[event_type].domain


@pytest.mark.parametrize("event_type", FOUND_MISSING)
def test_what_the_plan_found_missing_is_an_event(event_type: str) -> None:
    assert event_type in EVENT_TYPES


@pytest.mark.parametrize(("kind", "domains"), SNAPSHOT_KINDS.items())
def test_every_kind_of_snapshot_is_an_event_of_its_own_domain(kind: str, domains: set[Domain]) -> None:
    classes = [cls for cls in EVENT_TYPES.values() if cls.legacy_kind == kind]

    assert domains == {cls.domain for cls in classes}
    assert {"ANALYTICS_SNAPSHOT"} == {cls.legacy_type for cls in classes}


def test_the_mixed_event_and_the_dead_one_are_not_declared() -> None:
    assert not {"ANALYTICS_SNAPSHOT", "ISOLATION_VIOLATION"} & set(EVENT_TYPES)


@pytest.mark.parametrize(("new", "old"), RENAMED.items())
def test_renamed_events_know_their_old_name(new: str, old: str) -> None:
    assert (old, None) == (EVENT_TYPES[new].legacy_type, EVENT_TYPES[new].legacy_kind)
    assert old not in EVENT_TYPES


@pytest.mark.parametrize(
    ("event_type", "otel_name"),
    [
        ("TAMIYO_POLICY_UPDATE", "tamiyo.policy_update"),
        ("TOLARIA_EPOCH_COMPLETED", "tolaria.epoch_completed"),
        ("SEED_GERMINATED", "kasmina.seed_germinated"),
        ("EPISODE_OUTCOME", "simic.episode_outcome"),
        ("ALLOCATOR_STATS", "tolaria.allocator_stats"),
        ("KASMINA_SEED_DIVERSITY", "kasmina.seed_diversity"),
        ("RUN_ENDED", "esper.run_ended"),
    ],
)
def test_the_opentelemetry_name_is_domain_and_event(event_type: str, otel_name: str) -> None:
    assert otel_name == EVENT_TYPES[event_type].otel_name


def test_opentelemetry_names_are_unique_and_well_formed() -> None:
    names = [cls.otel_name for cls in EVENT_TYPES.values()]

    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"(tamiyo|tolaria|kasmina|simic|esper)(\.[a-z][a-z0-9_]*)", name) for name in names)


@pytest.mark.parametrize(("section", "field"), [(key, field) for key, names in APPENDIX_C.items() for field in names])
def test_every_field_of_appendix_c_is_a_field_of_the_policy_update(section: str, field: str) -> None:
    assert field in PolicyUpdate.__struct_fields__, section


@pytest.mark.parametrize("pattern", ["head_{}_kl", "head_{}_clip_fraction", "head_{}_active_ratio"])
@pytest.mark.parametrize("head", HEADS)
def test_the_plan_s_columns_by_head_are_entries_of_a_map(pattern: str, head: str) -> None:
    target = spelling_of(PolicyUpdate).find(pattern.format(head))

    assert target is not None
    assert (pattern.replace("{}_", ""), head) == (target.field, target.key)


@pytest.mark.parametrize(
    ("section", "cls", "field"), [(key, cls, field) for key, (cls, names) in APPENDIX_D.items() for field in names]
)
def test_every_field_of_appendix_d_is_carried_by_its_event(section: str, cls: type[Event], field: str) -> None:
    assert spelling_of(cls).find(field) is not None, section


def test_no_event_has_one_column_for_each_head() -> None:
    columns = re.compile(rf"head_({'|'.join(HEADS)})_.*")

    assert not [field for cls in all_structs() for field in cls.__struct_fields__ if columns.fullmatch(field)]


@pytest.mark.parametrize("cls", all_structs(), ids=lambda cls: cls.__name__)
def test_no_default_looks_healthy(cls: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(cls):
        assert field.default in (None, msgspec.NODEFAULT), f"{field.name}: {HEALTHY_DEFAULTS}"
        assert field.default_factory is msgspec.NODEFAULT, f"{field.name}: {HEALTHY_DEFAULTS}"


@pytest.mark.parametrize("cls", all_structs(), ids=lambda cls: cls.__name__)
def test_a_field_that_may_be_absent_says_so_in_its_type(cls: type[msgspec.Struct]) -> None:
    hints = typing.get_type_hints(cls)
    for field in msgspec.structs.fields(cls):
        optional = type(None) in typing.get_args(hints[field.name])

        assert optional == (field.default is None), field.name


@pytest.mark.parametrize("cls", all_structs(), ids=lambda cls: cls.__name__)
def test_every_event_is_frozen_by_keyword_and_refuses_what_it_does_not_know(cls: type[msgspec.Struct]) -> None:
    config: Any = cls.__struct_config__

    assert (config.frozen, config.forbid_unknown_fields, config.omit_defaults) == (True, True, True)
    with pytest.raises(TypeError, match="positional"):
        cls("value")


@pytest.mark.parametrize("cls", all_structs(), ids=lambda cls: cls.__name__)
def test_every_field_and_every_event_says_what_it_means(cls: type[msgspec.Struct]) -> None:
    assert (cls.__doc__ or "").strip()
    for _, declaration in declared_fields(cls).values():
        assert declaration.description.endswith((".", "…"))


@pytest.mark.parametrize("cls", EVENT_TYPES.values(), ids=lambda cls: cls.__name__)
def test_fields_that_an_event_names_are_fields_of_it(cls: type[Event]) -> None:
    named = {*cls.attributes, *([cls.epoch_field] if cls.epoch_field else [])}
    named |= {field for metric in cls.metrics for field in metric.attributes}

    assert named <= set(cls.__struct_fields__)


@pytest.mark.parametrize("cls", EVENT_TYPES.values(), ids=lambda cls: cls.__name__)
def test_no_spelling_of_an_event_means_two_fields(cls: type[Event]) -> None:
    aliases = [alias for _, declaration in declared_fields(cls).values() for alias in declaration.aliases]

    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & set(cls.__struct_fields__)


@pytest.mark.parametrize("field", MEDIUM)
def test_what_costs_a_transfer_is_declared_as_such(field: str) -> None:
    tiers = {entry.path[0]: entry.declaration.tier for entry in walk(InfrastructureSnapshot)}

    assert tiers[field] == Tier.MEDIUM


def test_every_event_class_is_public_and_named_once() -> None:
    assert {cls.__name__ for cls in EVENT_TYPES.values()} <= set(events.__all__)
    assert all(cls is getattr(events, cls.__name__) for cls in EVENT_TYPES.values())
    assert sorted(events.__all__) == sorted(set(events.__all__))
