"""Whatever a log holds: spans nest, and a snapshot of the projector changes nothing."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from esper_otel.events import (
    BatchCompleted,
    Decision,
    EpisodeOutcome,
    EpochCompleted,
    GradientAnomaly,
    Heartbeat,
    PhaseProfile,
    PhaseTiming,
    PolicyUpdate,
    RunEnded,
    SeedFossilized,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
    TrainingStarted,
)
from esper_otel.relay.traces.projector import TraceProjector
from esper_otel.relay.traces.state import MAX_SPANS
from tests.relay.projected import Timed, interval_s, one_round, project, record


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
