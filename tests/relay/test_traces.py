"""Traces: one per round, with episodes, epochs, phases, updates and the seed swimlane."""

from __future__ import annotations

import math
from typing import Any

import pytest
from inline_snapshot import snapshot
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import StatusCode

from esper_otel.events import (
    CounterfactualMatrix,
    Decision,
    EpisodeOutcome,
    EpochCompleted,
    Event,
    GradientAnomaly,
    Heartbeat,
    PerformanceDegradation,
    PhaseProfile,
    PhaseTiming,
    PolicyUpdate,
    Rollback,
    SeedFossilized,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
    TrainingStarted,
    UpdateSkipped,
)
from esper_otel.relay.traces.projector import TraceProjector
from tests.relay.projected import interval_s, named, one_round, outline, project, record


def test_a_round_is_one_trace_with_episodes_epochs_phases_and_the_update() -> None:
    spans = project(
        one_round(
            (2.0, EpochCompleted(env_id=0, inner_epoch=1, val_accuracy=10.0)),
            (
                2.5,
                PhaseProfile(epoch=1, phases={"train": PhaseTiming(wall_ms=1500.0), "val": PhaseTiming(wall_ms=400.0)}),
            ),
            (4.0, EpochCompleted(env_id=0, inner_epoch=2, val_accuracy=20.0)),
            (6.0, CounterfactualMatrix(env_id=0, compute_time_ms=500.0)),
            (6.5, EpisodeOutcome(env_id=0, episode_idx=0)),
            (8.0, PolicyUpdate(ppo_update_idx=1, update_time_ms=1000.0, policy_loss=0.5)),
        )
    )

    assert outline(spans) == snapshot(
        [
            "esper.run 0..0",
            "simic.round 0..10",
            "simic.round > simic.counterfactual 5.5..6",
            "simic.round > tamiyo.policy_update 7..8",
            "simic.round > tolaria.episode 0..6.5",
            "simic.round > tolaria.episode > tolaria.epoch 0..2",
            "simic.round > tolaria.episode > tolaria.epoch 2..4",
            "simic.round > tolaria.phase.train 0.6..2.1",
            "simic.round > tolaria.phase.val 2.1..2.5",
        ]
    )
    assert 2 == len({span.context.trace_id for span in spans})


def test_every_rank_names_the_same_root_and_only_rank_0_exports_it() -> None:
    events = one_round((2.0, EpochCompleted(env_id=0)))
    first, second = project(events, rank=0), project(events, rank=1)

    [root] = named(first, "simic.round")
    [episode] = named(second, "tolaria.episode")
    assert episode.parent is not None
    assert (root.context.trace_id, root.context.span_id) == (episode.parent.trace_id, episode.parent.span_id)
    assert [] == named(second, "simic.round") + named(second, "esper.run")
    assert named(first, "tolaria.episode")[0].context.span_id != episode.context.span_id


def test_a_round_is_linked_to_the_run_and_to_the_round_before() -> None:
    spans = project(
        [
            *one_round((2.0, EpochCompleted(env_id=0))),
            *one_round((12.0, EpochCompleted(env_id=0)), batch=2, end_s=20.0),
        ]
    )

    [run], [first, second] = named(spans, "esper.run"), named(spans, "simic.round")
    assert [run.context.span_id] == [link.context.span_id for link in first.links]
    assert [run.context.span_id, first.context.span_id] == [link.context.span_id for link in second.links]
    assert [(0.0, 10.0), (10.0, 20.0)] == [interval_s(first), interval_s(second)]


def test_the_seed_swimlane_has_a_child_for_every_stage() -> None:
    seed: dict[str, Any] = {"seed_id": "s1", "env_id": 0, "slot_id": "r0c0"}
    spans = project(
        one_round(
            (1.0, SeedGerminated(**seed, blueprint_id="norm")),
            (2.0, SeedStageChanged(**seed, from_stage="GERMINATED", to_stage="TRAINING")),
            (4.0, SeedStageChanged(**seed, from_stage="TRAINING", to_stage="BLENDING")),
            (5.0, SeedStageChanged(**seed, from_stage="BLENDING", to_stage="PRUNED")),
            (5.0, SeedPruned(**seed, reason="no gain")),
            (6.0, SeedStageChanged(**seed, from_stage="PRUNED", to_stage="EMBARGOED")),
        )
    )

    assert outline(spans) == snapshot(
        [
            "esper.run 0..0",
            "simic.round 0..10",
            "simic.round > kasmina.seed 1..5",
            "simic.round > kasmina.seed > kasmina.stage.blending 4..5",
            "simic.round > kasmina.seed > kasmina.stage.germinated 1..2",
            "simic.round > kasmina.seed > kasmina.stage.training 2..4",
        ]
    )
    [swimlane] = named(spans, "kasmina.seed")
    assert {
        "kasmina.seed.outcome": "pruned",
        "kasmina.blueprint_id": "norm",
        "kasmina.reason": "no gain",
    }.items() <= dict(swimlane.attributes or {}).items()


def test_a_seed_that_ends_in_a_later_round_is_truncated_there_and_linked_here() -> None:
    seed: dict[str, Any] = {"seed_id": "s1", "env_id": 0, "slot_id": "r0c0"}
    spans = project(
        [
            *one_round((1.0, SeedGerminated(**seed))),
            *one_round((12.0, SeedFossilized(**seed)), batch=2, end_s=20.0),
        ]
    )

    first, second = named(spans, "kasmina.seed")
    assert (True, None) == tuple((span.attributes or {}).get("esper.span.truncated") for span in (first, second))
    assert [first.context.span_id] == [link.context.span_id for link in second.links]
    assert first.context.trace_id != second.context.trace_id
    assert "fossilized" == (second.attributes or {})["kasmina.seed.outcome"]


def test_a_new_seed_in_a_slot_ends_the_one_that_was_there() -> None:
    spans = project(
        one_round(
            (1.0, SeedGerminated(seed_id="s1", env_id=0, slot_id="r0c0")),
            (3.0, SeedGerminated(seed_id="s2", env_id=0, slot_id="r0c0")),
        )
    )

    assert [(1.0, 3.0), (3.0, 10.0)] == [interval_s(span) for span in named(spans, "kasmina.seed")]


def test_a_stage_change_after_the_end_of_its_seed_starts_nothing() -> None:
    seed: dict[str, Any] = {"seed_id": "s1", "env_id": 0, "slot_id": "r0c0"}
    spans = project(
        one_round(
            (1.0, SeedGerminated(**seed)),
            (3.0, SeedPruned(**seed)),
            (3.0, SeedStageChanged(**seed, from_stage="GERMINATED", to_stage="PRUNED")),
        )
    )

    assert [(1.0, 3.0)] == [interval_s(span) for span in named(spans, "kasmina.seed")]


@pytest.mark.parametrize(
    ("named_anomaly", "event"),
    [
        ("simic.gradient_anomaly: kl_spike", GradientAnomaly(anomaly_type="kl_spike")),
        ("tolaria.rollback", Rollback(env_id=0)),
        ("tamiyo.update_skipped", UpdateSkipped(reason="nonfinite_loss")),
        ("tamiyo.pre_clip_grad_norm is nan", PolicyUpdate(pre_clip_grad_norm=math.nan)),
        ("tamiyo.pre_clip_grad_norm is 1e+06", PolicyUpdate(pre_clip_grad_norm=1e6)),
    ],
)
def test_a_round_with_an_anomaly_is_marked_and_names_it(named_anomaly: str, event: Event) -> None:
    [root] = named(project(one_round((2.0, EpochCompleted(env_id=0)), (3.0, event))), "simic.round")

    assert True is (root.attributes or {})["esper.round.anomalous"]
    assert (StatusCode.ERROR, named_anomaly) == (root.status.status_code, root.status.description)


def test_a_healthy_round_is_not_marked() -> None:
    [root] = named(project(one_round((3.0, PolicyUpdate(pre_clip_grad_norm=2.0)))), "simic.round")

    assert False is (root.attributes or {})["esper.round.anomalous"]
    assert StatusCode.UNSET is root.status.status_code


def test_an_anomaly_reported_just_after_the_batch_belongs_to_the_round_that_ended() -> None:
    spans = project(
        [
            *one_round((2.0, EpochCompleted(env_id=0))),
            (10.001, PerformanceDegradation()),
            *one_round((12.0, EpochCompleted(env_id=0)), batch=2, end_s=20.0),
        ]
    )

    marked = [(span.attributes or {})["esper.round.anomalous"] for span in named(spans, "simic.round")]
    assert [True, False] == marked


def test_a_root_waits_for_late_anomalies_no_longer_than_until_the_next_sign_of_life() -> None:
    events = [*one_round((2.0, EpochCompleted(env_id=0))), (12.5, Heartbeat())]

    assert 1 == len(named(project(events, close=False), "simic.round"))


def test_a_flush_finishes_completed_rounds_and_leaves_the_open_one() -> None:
    projector = TraceProjector("run-1", Resource({}))
    for at, event in one_round((2.0, EpochCompleted(env_id=0))):
        projector.feed(record(at, event), (event,))

    assert ["simic.round"] == [span.name for span in projector.flush()]
    event = EpochCompleted(env_id=0)
    projector.feed(record(11.0, event), (event,))
    assert [] == projector.flush()


def test_a_log_event_names_its_own_span_its_episode_or_the_round() -> None:
    projector = TraceProjector("run-1", Resource({}))
    contexts = {}
    spans = []
    for at, event in one_round(
        (1.0, Decision(env_id=0)),
        (2.0, EpochCompleted(env_id=0)),
        (3.0, SeedGerminated(seed_id="s", env_id=0, slot_id="r0c0")),
        (4.0, PolicyUpdate(update_time_ms=10.0)),
        (5.0, Heartbeat()),
    ):
        fed = record(at, event)
        spans += projector.feed(fed, (event,))
        contexts[type(event).__name__] = projector.trace_context(fed)
    spans += projector.close()

    by_id = {(span.context.trace_id, span.context.span_id): span.name for span in spans}
    assert {name: by_id[context] for name, context in contexts.items()} == snapshot(
        {
            "TrainingStarted": "esper.run",
            "Decision": "tolaria.episode",
            "EpochCompleted": "tolaria.epoch",
            "SeedGerminated": "kasmina.seed",
            "PolicyUpdate": "tamiyo.policy_update",
            "Heartbeat": "simic.round",
            "BatchCompleted": "simic.round",
        }
    )


def test_a_line_that_made_no_event_still_names_the_round() -> None:
    projector = TraceProjector("run-1", Resource({}))
    for at, event in [(0.0, TrainingStarted()), (1.0, EpochCompleted(env_id=0))]:
        projector.feed(record(at, event), (event,))
    unknown = record(2.0, None)

    assert [] == projector.feed(unknown, ())
    assert named(projector.close(), "simic.round")[0].context.trace_id == projector.trace_context(unknown)[0]
