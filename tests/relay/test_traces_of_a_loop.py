"""Traces of a plain PyTorch loop: its epochs, evaluations and checkpoints, and stretches of updates."""

from __future__ import annotations

import json

import pytest
from inline_snapshot import snapshot
from opentelemetry.sdk.resources import Resource

from esper_otel.events import (
    CheckpointLoaded,
    CheckpointSaved,
    Event,
    LoaderPass,
    PolicyUpdate,
    RunEnded,
    TrainingUpdate,
)
from esper_otel.relay.traces import state
from esper_otel.relay.traces.projector import TraceProjector
from tests.relay.projected import Timed, interval_s, named, one_round, outline, project, record


def updates(*at_s: float) -> list[Timed]:
    return [(at, TrainingUpdate(model="Net", optimizer="Adam")) for at in at_s]


def one_pass(kind: str, number: int, end_s: float, took_s: float) -> Timed:
    return end_s, LoaderPass(kind=kind, number=number, batches=3, samples=12, updates=3, duration_ms=1e3 * took_s)


ENDED: Event = RunEnded(outcome="finished")


def test_a_loop_is_one_trace_with_its_epochs_evaluations_and_checkpoints() -> None:
    spans = project(
        [
            *updates(1, 2, 3),
            one_pass("epoch", 1, 3.5, 3.5),
            one_pass("evaluation", 1, 5, 1),
            (6, CheckpointSaved(path="a.pt", duration_ms=500.0)),
            *updates(7, 8),
            one_pass("epoch", 2, 8.5, 2.5),
            (9, CheckpointLoaded(path="a.pt", duration_ms=250.0)),
            (10, ENDED),
        ]
    )

    assert outline(spans) == snapshot(
        [
            "esper.run.end 10..10",
            "tolaria.loop 0..9",
            "tolaria.loop > tolaria.checkpoint.load 8.75..9",
            "tolaria.loop > tolaria.checkpoint.save 5.5..6",
            "tolaria.loop > tolaria.epoch 0..3.5",
            "tolaria.loop > tolaria.epoch 6..8.5",
            "tolaria.loop > tolaria.evaluation 4..5",
        ]
    )
    first = named(spans, "tolaria.epoch")[0]
    assert {"tolaria.number": 1, "tolaria.batches": 3, "tolaria.samples": 12}.items() <= dict(
        first.attributes or {}
    ).items()
    (root,), (end,) = named(spans, "tolaria.loop"), named(spans, "esper.run.end")
    assert (root.attributes or {})["tolaria.updates"] == 5
    assert [link.context for link in end.links] == [root.context]


def test_a_loop_without_epochs_has_a_span_for_each_minute_of_updates() -> None:
    spans = project([*updates(*range(0, 150, 10)), (150, ENDED)])

    stretches = named(spans, "tolaria.updates")
    assert [interval_s(span) for span in stretches] == [(0, 60), (60, 120), (120, 140)]
    assert [(span.attributes or {})["tolaria.updates"] for span in stretches] == [7, 6, 2]


def test_an_epoch_of_days_has_the_stretches_as_well_and_a_short_one_has_none() -> None:
    long = [*updates(*range(1, 100, 10)), one_pass("epoch", 1, 100, 100)]
    short = [*updates(101, 102), one_pass("epoch", 2, 103, 3)]

    stretches = named(project([*long, *short, (104, ENDED)]), "tolaria.updates")
    assert [interval_s(span) for span in stretches] == [(1, 61), (61, 100)]


def test_updates_of_an_epoch_that_are_read_after_its_end_are_no_stretch() -> None:
    spans = project([*updates(1), one_pass("epoch", 1, 4, 4), *updates(2, 3), (5, ENDED)])

    assert named(spans, "tolaria.updates") == []
    assert (named(spans, "tolaria.loop")[0].attributes or {})["tolaria.updates"] == 3


def test_a_loop_that_died_ends_with_its_last_event_and_says_so() -> None:
    (root,) = named(project(updates(1, 2)), "tolaria.loop")

    assert interval_s(root) == (1, 2)
    assert (root.attributes or {})["esper.span.truncated"] is True


def test_ranks_have_traces_of_their_own() -> None:
    first, second = (named(project(updates(1), rank=rank), "tolaria.loop")[0] for rank in (0, 1))

    assert first.context.trace_id != second.context.trace_id


def test_a_run_that_is_continued_has_a_second_trace_linked_to_the_first() -> None:
    spans = project([*updates(1), (2, ENDED), *updates(11), (12, ENDED)])

    first, second = named(spans, "tolaria.loop")
    assert first.context.trace_id != second.context.trace_id
    assert [link.context.trace_id for link in second.links] == [first.context.trace_id]
    assert interval_s(second) == (11, 11)


def test_a_full_trace_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esper_otel.relay.traces.loops.MAX_SPANS", 4)
    spans = project([one_pass("epoch", number, number, 1) for number in range(1, 8)])

    roots = named(spans, "tolaria.loop")
    traces = [span.context.trace_id for span in named(spans, "tolaria.epoch")]
    assert [traces.count(root.context.trace_id) for root in roots] == [3, 3, 1]
    assert len({span.context.span_id for span in spans}) == len(spans)
    assert [interval_s(root) for root in roots] == [(0, 3), (3, 6), (6, 7)]


def test_a_checkpoint_that_a_trainer_reports_itself_is_no_loop() -> None:
    spans = project(one_round((2.0, CheckpointSaved(path="a.pt"))))

    assert named(spans, state.LOOP) == named(spans, "tolaria.checkpoint.save") == []


def test_updates_of_a_policy_have_their_round_beside_the_loop() -> None:
    spans = project([*updates(1), (2, PolicyUpdate(policy_loss=0.5)), *updates(3), (4, ENDED)])

    assert {"simic.round", "tamiyo.policy_update", "tolaria.loop"} <= {span.name for span in spans}


def test_a_log_event_of_a_loop_names_its_trace() -> None:
    projector = TraceProjector("run-1", Resource({}))
    line = record(1, TrainingUpdate())
    projector.feed(line, (TrainingUpdate(),))
    named_by_update, ambient = projector.trace_context(line), projector.trace_context(record(2, None))
    (root,) = named(projector.close(), "tolaria.loop")

    assert named_by_update == ambient == (root.context.trace_id, root.context.span_id)


def test_a_relay_that_comes_back_goes_on_where_it_was() -> None:
    events = [*updates(1, 30), one_pass("epoch", 1, 40, 40), *updates(50, 120), (130, ENDED)]
    whole = outline(project(events))

    for cut in range(len(events)):
        before = TraceProjector("run-1", Resource({}))
        spans = [span for at, event in events[:cut] for span in before.feed(record(at, event), (event,))]
        after = TraceProjector("run-1", Resource({}))
        after.restore(json.loads(json.dumps(before.snapshot())))
        spans += [span for at, event in events[cut:] for span in after.feed(record(at, event), (event,))]
        assert outline(spans + after.close()) == whole
