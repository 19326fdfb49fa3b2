"""Runs that emit what no field was made for, and as many different values as there are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_otel.events import EVENT_TYPES
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.log.writer import Writer
from tests.faults.ledger import WHOLE, Figures, fault
from tests.faults.odd_values import event_with, odd_values
from tests.faults.runs import (
    STEPS,
    announced_url,
    delivered,
    ids_in,
    lines_of,
    numbers_in,
    relay_said,
    resident_mb,
    told_losses,
    train,
    types_in,
    wait_delivered,
)
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import events_by_type, manifest, samples, scrape
from tests.waiting import wait_for

Weights = Callable[..., str]
EXAMPLES = 3000 if WHOLE else 150
DISTINCT_STEPS = 2000 if WHOLE else 200
DECISIONS = 50
SCRAPE_BYTES = 2_000_000
STORED_BYTES = 1_000_000
GROWTH_MB = 150.0


@pytest.mark.whole
@fault(
    "NaN, infinities, integers of 5,000 digits, bytes, tensors, 1 MB strings, 100,000 levels of nesting, cycles, "
    "objects that raise whatever they are asked: in every field of every event type (torch)",
    holds="training is as ever; every event is a line without what has no JSON form, which is counted and named once a "
    "field; the relay serves and delivers every line",
)
def test_odd_values_in_every_field_cost_only_themselves(
    tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "10"}
        with train(tmp_path, "--relay", "--odd", "--linger", "300", learner="torch", **env) as trainer:
            url = announced_url(trainer.run)
            result = trainer.finish(120)
            started = time.monotonic()
            assert silent_weights(STEPS, "torch") == result["weights"]
            assert result["counters"]["emitted"] == result["counters"]["written"]
            assert told_losses(trainer.run) == result["counters"]["dropped.unencodable"]
            assert list(range(1, len(numbers_in(trainer.run)) + 1)) == numbers_in(trainer.run)
            said = [line for line in trainer.said().splitlines() if "dropped from the event log" in line]
            assert len(said) == len(set(said)) <= 30
            wait_for(lambda: {*ids_in(trainer.run)} == {*delivered(receiver)}, "the delivery of every event")
            figures.add(lost=0, recovered_s=time.monotonic() - started)
            assert sum(events_by_type(scrape(url)).values()) > 0
            assert "Traceback" not in relay_said(trainer.run)
            figures.note = f"{told_losses(trainer.run)} values left out, {len(ids_in(trainer.run))} events whole"


CHOICES = st.lists(st.tuples(*[st.integers(0, 10_000)] * 3), min_size=1, max_size=5)


@settings(max_examples=EXAMPLES, deadline=None)
@given(choices=CHOICES)
def check_any_value_in_any_field(directory: Path, values: list[Any], choices: list[tuple[int, int, int]]) -> None:
    known = list(EVENT_TYPES.values())
    kinds = [known[kind % len(known)] for kind, _, _ in choices]
    run = directory / str(time.monotonic_ns())
    writer = Writer(run, "r", heartbeat_s=0)
    for kind, (_, field, value) in zip(kinds, choices, strict=True):
        name = kind.__struct_fields__[field % len(kind.__struct_fields__)]
        writer.put((event_with(kind, values[value % len(values)], name), time.time_ns(), "default", None, None))
    writer.close()
    with LogReader(run) as reader:
        found = reader.read(100)

    types = [item.event_type for item in found if isinstance(item, Record) and item.event_type != "TELEMETRY_LOSS"]
    told = [item for item in found if isinstance(item, Record) and item.event_type == "TELEMETRY_LOSS"]
    assert len(found) == len(types) + len(told)
    assert [kind.event_type for kind in kinds if kind.event_type != "TELEMETRY_LOSS"] == types
    assert all(json.loads(line) for line in (run / "events.jsonl").read_bytes().splitlines())


@fault(
    "any odd value in any field of any event type (hypothesis)",
    holds="each event is one valid line; nothing raises",
)
def test_any_value_in_any_field_is_one_valid_line(
    tmp_path: Path, figures: Figures, capfd: pytest.CaptureFixture[str]
) -> None:
    cheap = [value for value in odd_values(with_torch=WHOLE) if not (isinstance(value, str) and len(value) > 1000)]
    check_any_value_in_any_field(directory=tmp_path, values=cheap)
    figures.add(runs=EXAMPLES)
    assert "Traceback" not in capfd.readouterr().err


@fault(
    f"{DISTINCT_STEPS * DECISIONS:,} decisions, each with values of its own in every attribute",
    holds="training is as ever; the relay's memory and its exposition are bounded; what was folded is counted; "
    "every event is delivered",
)
def test_attributes_without_a_bound_are_bounded(tmp_path: Path, silent_weights: Weights, figures: Figures) -> None:
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "10"}
        options = ("--relay", "--distinct", "--decisions", str(DECISIONS), "--linger", "300")
        with train(tmp_path, *options, steps=DISTINCT_STEPS, **env) as trainer:
            url = announced_url(trainer.run)
            trainer.steps(20)
            pid = manifest(trainer.run)["relay"]["pid"]
            before = resident_mb(pid)
            assert silent_weights(DISTINCT_STEPS) == trainer.finish(120)["weights"]
            ended = time.monotonic()
            wait_for(lambda: counted(scrape(url)) == len(lines_of(trainer.run)), "the log's counts")
            text = scrape(url)
            wait_delivered(receiver, trainer.run)
            figures.add(recovered_s=time.monotonic() - ended)
            grown = resident_mb(pid) - before
            stored = (trainer.run / "relay" / "traces.json").stat().st_size
        assert {*ids_in(trainer.run)} == {*delivered(receiver)}
        assert "RUN_ENDED" in types_in(trainer.run)
        assert told_losses(trainer.run) == 0
        assert stored < STORED_BYTES
        assert len(text) < SCRAPE_BYTES
        assert grown < GROWTH_MB
        assert "esper_telemetry_folded_values_total" in text
    figures.note = f"memory grew by {grown:.0f} MB; the exposition has {len(text) / 1e3:.0f} kB"


def counted(text: str) -> float:
    """Events over all groups of an exposition."""
    return sum(value for (name, _), value in samples(text).items() if name == "esper_events_total")
