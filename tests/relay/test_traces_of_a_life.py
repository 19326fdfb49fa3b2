"""Traces over the life of a run: its end, its continuation, its arms and ranks, and the bound on spans."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import StatusCode

from esper_otel.events import (
    BatchCompleted,
    EpochCompleted,
    Rollback,
    RunEnded,
    SeedGerminated,
    TrainingStarted,
)
from esper_otel.relay.traces.projector import TraceProjector
from esper_otel.relay.traces.state import MAX_SPANS
from tests.relay.projected import Timed, interval_s, named, one_round, project, record


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
