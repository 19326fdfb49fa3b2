"""Traces: one per round, with episodes, epochs, phases, updates and the seed swimlane."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from esper_otel.events import (
    BatchCompleted,
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
    RunEnded,
    SeedFossilized,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
    TrainingStarted,
    UpdateSkipped,
)
from esper_otel.log.envelope import Record
from esper_otel.relay.spans_state import MAX_SPANS
from esper_otel.relay.traces import TraceProjector

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
Timed = tuple[float, Event]


def record(at_s: float, event: Event | None, *, rank: int = 0, group: str = "default") -> Record:
    name = "SOMETHING" if event is None else event.event_type
    return Record(
        event_id=f"{at_s}", event_type=name, timestamp_ns=START + int(at_s * SECOND), rank=rank, group_id=group
    )


def project(
    events: Iterable[Timed], *, rank: int = 0, group: str = "default", close: bool = True
) -> list[ReadableSpan]:
    projector = TraceProjector("run-1", Resource({}))
    spans = [
        span for at, event in events for span in projector.feed(record(at, event, rank=rank, group=group), (event,))
    ]
    return spans + (projector.close() if close else [])


def one_round(*inside: Timed, batch: int = 1, end_s: float = 10.0) -> list[Timed]:
    started = [(0.0, TrainingStarted(n_envs=1))] if batch == 1 else []
    return [*started, *inside, (end_s, BatchCompleted(batch_idx=batch))]


def named(spans: Iterable[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def interval_s(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - START) / SECOND, (span.end_time - START) / SECOND


def outline(spans: list[ReadableSpan]) -> list[str]:
    """One line for each span: its path from the root and its interval in s."""
    names = {span.context.span_id: span for span in spans}

    def path(span: ReadableSpan) -> str:
        return f"{path(names[span.parent.span_id])} > {span.name}" if span.parent else span.name

    return sorted("{} {:g}..{:g}".format(path(span), *interval_s(span)) for span in spans)


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


def test_the_end_of_a_run_closes_what_is_open_and_is_linked_to_its_start() -> None:
    events: list[Timed] = [
        (0.0, TrainingStarted()),
        (1.0, EpochCompleted(env_id=0)),
        (2.0, SeedGerminated(seed_id="s", env_id=0, slot_id="r0c0")),
        (3.0, RunEnded(outcome="died", detail="killed by signal 9")),
    ]
    spans = project(events, close=False)

    truncated = [span.name for span in spans if (span.attributes or {}).get("esper.span.truncated")]
    assert ["tolaria.episode", "kasmina.seed", "simic.round"] == truncated
    [start], [end] = named(spans, "esper.run"), named(spans, "esper.run.end")
    assert [start.context.span_id] == [link.context.span_id for link in end.links]
    assert (StatusCode.ERROR, "died: killed by signal 9") == (end.status.status_code, end.status.description)


def test_training_that_starts_again_under_one_run_id_gets_traces_of_its_own() -> None:
    once = one_round((2.0, EpochCompleted(env_id=0)))
    again = [(at + 20.0, event) for at, event in once]

    spans = project([*once, *again])

    assert 4 == len({span.context.trace_id for span in spans})
    assert [1, 1] == [(span.attributes or {})["esper.round"] for span in named(spans, "simic.round")]


def test_a_resumed_run_goes_on_counting_rounds() -> None:
    spans = project(
        [
            (0.0, TrainingStarted(n_envs=4, start_episode=12)),
            (1.0, EpochCompleted(env_id=0)),
            (2.0, BatchCompleted(batch_idx=4)),
        ]
    )

    assert [4] == [(span.attributes or {})["esper.round"] for span in named(spans, "simic.round")]


def test_an_event_that_esper_lite_sends_without_its_group_belongs_to_the_group_that_trains() -> None:
    projector = TraceProjector("run-1", Resource({}))
    spans = []
    for at, event, group in [
        (0.0, TrainingStarted(), "A"),
        (1.0, EpochCompleted(env_id=0), "A"),
        (2.0, Rollback(env_id=0), "default"),
        (3.0, BatchCompleted(batch_idx=1), "A"),
    ]:
        spans += projector.feed(record(at, event, group=group), (event,))
    spans += projector.close()

    [root] = named(spans, "simic.round")
    assert ("A", True) == tuple((root.attributes or {})[key] for key in ("esper.group.id", "esper.round.anomalous"))


def test_groups_that_train_in_turn_have_rounds_one_after_the_other() -> None:
    projector = TraceProjector("run-1", Resource({}))
    spans = []
    for at, event, group in [
        (0.0, TrainingStarted(n_envs=1), "A"),
        (0.0, TrainingStarted(n_envs=1), "B"),
        (1.0, EpochCompleted(env_id=0), "A"),
        (2.0, BatchCompleted(batch_idx=1), "A"),
        (3.0, EpochCompleted(env_id=0), "B"),
        (4.0, BatchCompleted(batch_idx=1), "B"),
        (5.0, EpochCompleted(env_id=0), "A"),
        (6.0, BatchCompleted(batch_idx=2), "A"),
    ]:
        spans += projector.feed(record(at, event, group=group), (event,))
    spans += projector.close()

    rounds = {((root.attributes or {})["esper.group.id"], *interval_s(root)) for root in named(spans, "simic.round")}
    assert {("A", 0.0, 2.0), ("B", 2.0, 4.0), ("A", 4.0, 6.0)} == rounds
    assert 3 == len({root.context.trace_id for root in named(spans, "simic.round")})


def test_a_trace_holds_at_most_its_share_of_spans_and_counts_the_rest() -> None:
    epochs: list[Timed] = [(1.0 + i / 1000, EpochCompleted(env_id=i % 4, inner_epoch=i)) for i in range(2_000)]
    seeds: list[Timed] = [(4.0, SeedGerminated(seed_id=f"s{i}", env_id=i, slot_id="r0c0")) for i in range(50)]
    projector = TraceProjector("run-1", Resource({}))
    spans = []
    for at, event in one_round(*epochs, *seeds):
        spans += projector.feed(record(at, event), (event,))
    spans += projector.close()

    round_spans = [span for span in spans if span.name != "esper.run"]
    [root] = named(spans, "simic.round")
    assert len(round_spans) <= MAX_SPANS
    assert (4, 50) == (len(named(spans, "tolaria.episode")), len(named(spans, "kasmina.seed")))
    # 4 episodes, 2000 epochs, 50 seeds with a stage each, and the root
    assert 4 + 2_000 + 100 + 1 - len(round_spans) == (root.attributes or {})["esper.spans.dropped"] == projector.dropped


def test_the_ranks_of_a_run_share_the_spans_of_a_trace() -> None:
    epochs: list[Timed] = [(1.0, EpochCompleted(env_id=0)) for _ in range(1_000)]

    spans = project([(0.0, TrainingStarted(world_size=4)), *epochs, (2.0, BatchCompleted(batch_idx=1))], rank=3)

    assert len(spans) <= MAX_SPANS // 4


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


def described(span: ReadableSpan) -> str:
    return str(span.to_json(indent=None))


def test_going_on_from_a_snapshot_after_every_record_gives_the_same_spans() -> None:
    events = [*one_round(*EVERYTHING), *one_round((12.0, SeedFossilized(**SEED)), batch=2, end_s=20.0)]
    whole = project(events)

    resumed: list[ReadableSpan] = []
    state = json.dumps(TraceProjector("run-1", Resource({})).snapshot())
    for at, event in events:
        projector = TraceProjector("run-1", Resource({}))
        projector.restore(json.loads(state))
        resumed += projector.feed(record(at, event), (event,))
        state = json.dumps(projector.snapshot())
    projector = TraceProjector("run-1", Resource({}))
    projector.restore(json.loads(state))
    resumed += projector.close()

    assert [described(span) for span in whole] == [described(span) for span in resumed]


SEED: dict[str, Any] = {"seed_id": "s1", "env_id": 0, "slot_id": "r0c0"}
EVERYTHING: list[Timed] = [
    (1.0, EpochCompleted(env_id=0, episode_idx=3, val_loss=math.inf)),
    (1.1, Decision(env_id=0)),
    (1.2, PhaseProfile(phases={"train": PhaseTiming(wall_ms=700.0)})),
    (1.3, SeedGerminated(**SEED, blueprint_id="norm")),
    (1.4, SeedStageChanged(**SEED, from_stage="GERMINATED", to_stage="TRAINING")),
    (1.5, GradientAnomaly(anomaly_type="x")),
    (1.6, EpisodeOutcome(env_id=0, episode_idx=3)),
    (1.7, PolicyUpdate(update_time_ms=50.0)),
]

ENVS = st.sampled_from([0, 1, None])
SLOTS = st.sampled_from(["r0c0", "r0c1", None])
STAGES = st.sampled_from(["DORMANT", "GERMINATED", "TRAINING", "BLENDING", "PRUNED", "FOSSILIZED", None])
NUMBERS = st.floats() | st.none()
EVENTS = st.one_of(
    st.builds(TrainingStarted, n_envs=st.integers(-1, 3) | st.none(), world_size=st.integers(0, 4)),
    st.builds(EpochCompleted, env_id=ENVS, val_loss=NUMBERS),
    st.builds(EpisodeOutcome, env_id=ENVS, episode_reward=NUMBERS),
    st.builds(Decision, env_id=ENVS),
    st.builds(SeedGerminated, seed_id=SLOTS, env_id=ENVS, slot_id=SLOTS, rng_seed=st.integers(0, 2**70)),
    st.builds(SeedStageChanged, seed_id=SLOTS, env_id=ENVS, slot_id=SLOTS, from_stage=STAGES, to_stage=STAGES),
    st.builds(SeedPruned, seed_id=SLOTS, env_id=ENVS, slot_id=SLOTS, reason=st.text()),
    st.builds(PolicyUpdate, update_time_ms=NUMBERS, pre_clip_grad_norm=NUMBERS, batch=st.integers(0, 3) | st.none()),
    st.builds(PhaseProfile, phases=st.dictionaries(st.text(), st.builds(PhaseTiming, wall_ms=NUMBERS), max_size=3)),
    st.builds(BatchCompleted, batch_idx=st.integers(0, 5) | st.none()),
    st.builds(GradientAnomaly, batch=st.integers(0, 3) | st.none()),
    st.builds(RunEnded, outcome=st.just("finished")),
    st.just(Heartbeat()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), EVENTS), max_size=40), st.data())
def test_whatever_the_log_holds_spans_nest_and_a_restart_changes_nothing(
    events: list[Timed], data: st.DataObject
) -> None:
    whole = project(events)
    cut = data.draw(st.integers(0, len(events)))
    before, after = TraceProjector("run-1", Resource({})), TraceProjector("run-1", Resource({}))
    spans = [span for at, event in events[:cut] for span in before.feed(record(at, event), (event,))]
    after.restore(json.loads(json.dumps(before.snapshot())))
    spans += [span for at, event in events[cut:] for span in after.feed(record(at, event), (event,))]
    spans += after.close()

    assert_well_formed(whole)
    assert [described(span) for span in whole] == [described(span) for span in spans]


def assert_well_formed(spans: list[ReadableSpan]) -> None:
    """Ids differ, every parent exists and holds its child, no trace is too big, attributes can be exported."""
    by_id = {(span.context.trace_id, span.context.span_id): span for span in spans if span.name != "esper.run.end"}
    assert len([span for span in spans if span.name != "esper.run.end"]) == len(by_id)
    for span in spans:
        start, end = interval_s(span)
        assert start <= end
        assert len(span.attributes or {}) < 128
        assert all(not isinstance(value, float) or math.isfinite(value) for value in (span.attributes or {}).values())
        if span.parent is not None:
            parent = by_id[span.parent.trace_id, span.parent.span_id]
            assert interval_s(parent)[0] <= start
            assert end <= interval_s(parent)[1]
    assert all(count <= MAX_SPANS for count in Counter(span.context.trace_id for span in spans).values())
