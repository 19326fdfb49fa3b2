"""Exemplars: a bucket of a histogram names the trace of the last round whose value fell into it, or none at all."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from esper_otel.events import BatchCompleted, EpochCompleted, Event, PolicyUpdate, TrainingStarted
from esper_otel.log.envelope import Record
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.exemplars import EXEMPLARS, MAX_SCOPES, Exemplars
from esper_otel.relay.metrics.families import Exemplar, Family
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.otlp.metrics_data import metrics_data
from esper_otel.relay.prometheus.exposition import FamilyCollector, registry_of
from esper_otel.relay.traces.build import SCOPE
from esper_otel.relay.traces.projector import TraceProjector
from tests.recorded import RECORDINGS, recording
from tests.relay.test_traces_recordings import lines, traced

SECOND = 1_000_000_000
NORM = "tamiyo.pre_clip_grad_norm"


def record(at_s: int, event: Event, *, rank: int = 0, group: str = "default") -> Record:
    return Record(
        event_id=str(at_s), event_type=event.event_type, timestamp_ns=at_s * SECOND, rank=rank, group_id=group
    )


def a_round(number: int, norm: float, *, rank: int = 0, group: str = "default") -> list[tuple[Record, Event]]:
    events = (
        EpochCompleted(env_id=0),
        PolicyUpdate(batch=number, pre_clip_grad_norm=norm, update_time_ms=20.0),
        BatchCompleted(batch_idx=number, batch_time_ms=900.0),
    )
    return [(record(10 * number + at, event, rank=rank, group=group), event) for at, event in enumerate(events, 1)]


def started(at_s: int = 1, *, start_episode: int | None = None) -> list[tuple[Record, Event]]:
    event = TrainingStarted(n_envs=1, start_episode=start_episode)
    return [(record(at_s, event), event)]


def observed(happened: Iterable[tuple[Record, Event]], kept: Exemplars | None = None) -> list[Family]:
    """The families of a run, with its exemplars."""
    exemplars, state = kept or Exemplars("run"), MetricState()
    for envelope, event in happened:
        line = Ingested(envelope, (event,))
        account(state, line)
        exemplars.observe(line)
    return exemplars.attach(state.collect(state.last_ns))


def exemplars_of(families: list[Family], name: str = NORM) -> list[Exemplar]:
    return [
        found
        for family in families
        if family.name == name
        for buckets in family.exemplars.values()
        for found in buckets.values()
    ]


def roots(happened: Iterable[tuple[Record, Event]]) -> list[tuple[int, int]]:
    """Trace and span id of the root of every round, in order."""
    projector = TraceProjector("run", Resource({}))
    spans = [span for envelope, event in happened for span in projector.feed(envelope, (event,))]
    spans += projector.close()
    return [(span.context.trace_id, span.context.span_id) for span in spans if span.name == "simic.round"]


def test_an_update_and_its_round_name_the_root_span_of_the_round() -> None:
    happened = [*started(), *a_round(1, 3.0)]
    families = observed(happened)

    assert roots(happened) * 3 == [
        (found.trace_id, found.span_id) for name in EXEMPLARS for found in exemplars_of(families, name)
    ]
    assert [0.02, 0.9] == [found.value for name in EXEMPLARS[1:] for found in exemplars_of(families, name)]


def test_a_bucket_keeps_its_last_value_and_each_bucket_its_own() -> None:
    families = observed([*started(), *a_round(1, 4.0), *a_round(2, 500.0), *a_round(3, 4.1)])

    assert {4.1: 32 * SECOND, 500.0: 22 * SECOND} == {
        found.value: found.timestamp_ns for found in exemplars_of(families)
    }


def test_a_resumed_run_has_no_exemplars_since_its_traces_have_other_ids() -> None:
    resumed = [*started(), *a_round(1, 3.0), *started(40, start_episode=1), *a_round(2, 500.0)]

    assert [3.0] == [found.value for found in exemplars_of(observed(resumed))]
    assert len(set(roots(resumed))) == 2


def test_a_log_that_begins_in_mid_round_has_none_once_training_starts_in_it() -> None:
    torn = [*a_round(1, 3.0)[:1], *started(15), *a_round(2, 500.0)]

    assert [] == exemplars_of(observed(torn))


def test_a_round_that_is_not_the_next_one_has_none() -> None:
    skipped = [*started(), *a_round(7, 3.0)]

    assert [] == exemplars_of(observed(skipped))


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_none(norm: float) -> None:
    assert [] == exemplars_of(observed([*started(), *a_round(1, norm)]))


def test_after_a_restart_rounds_go_on_to_be_told_apart_and_old_exemplars_are_gone() -> None:
    before, after = Exemplars("run"), Exemplars("run")
    first, second = [*started(), *a_round(1, 3.0)], a_round(2, 4.0)
    observed(first, before)
    after.restore(before.snapshot())

    (found,) = exemplars_of(observed(second, after))

    assert (4.0, *roots([*first, *second])[-1]) == (found.value, found.trace_id, found.span_id)


def test_ranks_and_groups_are_told_apart() -> None:
    families = observed([*a_round(1, 3.0), *a_round(1, 3.0, rank=1), *a_round(1, 3.0, group="B")])
    traces = {found.trace_id for found in exemplars_of(families)}

    assert 3 == len(exemplars_of(families))
    assert 2 == len(traces)


def test_a_log_with_endless_groups_does_not_fill_the_memory() -> None:
    exemplars = Exemplars("run")
    for number in range(MAX_SCOPES + 10):
        ((envelope, event),) = a_round(1, 3.0, group=f"group-{number}")[1:2]
        exemplars.observe(Ingested(envelope, (event,)))

    assert MAX_SCOPES == len(exemplars.snapshot())


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_exemplar_of_a_recording_names_a_round_that_was_traced(name: str) -> None:
    recording(name)
    exemplars, state = Exemplars(name), MetricState()
    for envelope, events in lines(name):
        line = Ingested(envelope, events)
        account(state, line)
        exemplars.observe(line)
    families = exemplars.attach(state.collect(state.last_ns))
    found = {(one.trace_id, one.span_id) for each in EXEMPLARS for one in exemplars_of(families, each)}

    assert found
    assert found <= {(span.context.trace_id, span.context.span_id) for span in traced(name) if span.parent is None}


def test_openmetrics_carries_them_in_their_buckets_and_the_text_format_is_as_it_was() -> None:
    happened = [*started(), *a_round(1, 3.0)]
    registry = registry_of(FamilyCollector(lambda: observed(happened), {}))
    ((trace_id, span_id),) = roots(happened)
    samples = [
        sample
        for family in text_string_to_metric_families(generate_openmetrics(registry).decode())
        for sample in family.samples
        if sample.exemplar
    ]

    assert {"tamiyo_pre_clip_grad_norm_bucket", "tamiyo_update_duration_seconds_bucket"} < {s.name for s in samples}
    assert [{"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}] * 3 == [s.exemplar.labels for s in samples]
    assert "trace_id" not in generate_latest(registry).decode()


def test_both_formats_have_the_same_series() -> None:
    registry = registry_of(FamilyCollector(lambda: observed([*started(), *a_round(1, 3.0)]), {"service.name": "esper"}))
    classic = {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}
    openmetrics = generate_openmetrics(registry).decode().splitlines()

    assert len(classic) > 50  # no zeros of signals that were never sent
    assert classic == {line.split(" # ")[0] for line in openmetrics if not line.startswith("#")}


def test_otlp_carries_the_same_ones() -> None:
    happened = [*started(), *a_round(1, 3.0)]
    data = metrics_data(observed(happened), resource=Resource({}), scope=SCOPE, start_ns=1, time_ns=2)
    found = [
        (metric.name, exemplar.as_double, int.from_bytes(exemplar.trace_id), int.from_bytes(exemplar.span_id))
        for metric in encode_metrics(data).resource_metrics[0].scope_metrics[0].metrics
        for point in metric.histogram.data_points
        for exemplar in point.exemplars
    ]
    ((trace_id, span_id),) = roots(happened)

    assert [(NORM, 3.0, trace_id, span_id)] == [each for each in found if each[0] == NORM]
    assert set(EXEMPLARS) == {name for name, *_ in found}
