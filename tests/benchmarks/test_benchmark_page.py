"""The page of figures is made of two runs and hides nothing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from benchmarks.alternatives.blocks import Blocks
from benchmarks.alternatives.payloads import PAYLOADS
from benchmarks.slowdown import interval
from benchmarks.table.behind import behind
from benchmarks.table.cells import both, figure, ratio, table
from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.log.codec import decode
from esper_otel.log.encode import Envelope, LineEncoder


def slowdown(way: str, centre: float, *, width: float = 0.004, worst_ms: float = 5.0) -> list[dict[str, Any]]:
    return [
        {
            "way": way, "payload": payload, "rate": 10_000, "ratio": centre, "low": centre - width,
            "high": centre + width, "p999_with_ms": worst_ms, "p999_without_ms": 5.0,
        }
        for payload in ("decision", "policy update")
    ]  # fmt: skip


def run(*rows: list[dict[str, Any]], relay_us: float = 10.0, core_per_s: float = 60_000) -> dict[str, Any]:
    return {
        "slowdown": list(itertools.chain(*rows)),
        "relay": [{"exported": "metrics, spans, logs, OTLP metrics", "cpu_us": relay_us}],
        "growth": {"core": [{"events_per_s": core_per_s}]},
        "footprint": [
            {"layer": "esper_otel, configured", "import_ms": 40.0, "memory_mb": 2.0},
            {"layer": "light", "import_ms": 90.0, "memory_mb": 1.0},
        ],
    }


def test_an_aim_counts_as_reached_only_when_every_run_reaches_it() -> None:
    good = run(slowdown("esper_otel", 1.002))
    bad = run(slowdown("esper_otel", 1.2, worst_ms=30.0), relay_us=40.0, core_per_s=40_000)

    assert 5 == behind([good, good]).count("Reached.")
    assert 0 == behind([bad, bad]).count("Reached.")
    assert 0 == behind([good, bad]).count("Reached.")


def test_a_way_whose_interval_lies_below_ours_is_named_with_whether_every_run_says_so() -> None:
    ours, never = slowdown("esper_otel", 1.1), slowdown("never", 1.099)
    once, always = slowdown("sometimes", 1.0), slowdown("always", 1.0)
    text = behind([run(ours, once, always, never), run(ours, slowdown("sometimes", 1.3), always, never)])

    assert "always slows down less (decision, 10,000 a second)" in text
    assert "sometimes slows down less in one run, not in another (decision, 10,000 a second)" in text
    assert "never" not in text


def test_a_layer_that_needs_less_memory_is_named() -> None:
    assert "light takes less memory: 1.00 MB, ours 2.00." in behind([run(slowdown("esper_otel", 1.0))])


def test_a_cell_shows_each_run_and_a_run_that_says_nothing() -> None:
    assert "1 · 2 · –" == both([{"n": 1}, {"n": 2}, None], lambda row: str(row["n"]))
    assert "1" == both([{"n": 1}, {"n": 1}], lambda row: str(row["n"]))


@pytest.mark.parametrize(
    ("expected", "value"), [("1,234", 1234.4), ("123", 123.4), ("12.3", 12.34), ("1.23", 1.234), ("0.12", 0.123)]
)
def test_figures_have_three_places_that_count(expected: str, value: float) -> None:
    assert expected == figure(value)


def test_ratios_near_one_are_told_to_a_thousandth() -> None:
    assert ["1.004", "2.53"] == [ratio(1.0042), ratio(2.534)]


def test_a_table_has_its_head_a_rule_and_its_rows() -> None:
    assert "| a | b |\n| --- | ---: |\n| x | 1 |" == table(["a", "b"], [["x", "1"]])


def test_the_interval_of_equal_values_is_the_value() -> None:
    assert (1.5, 1.5) == interval([1.5] * 6)


@pytest.mark.parametrize("rate", [100, 1_000, 10_000])
def test_a_block_records_as_many_events_as_belong_to_its_steps(rate: int) -> None:
    blocks, recorded = Blocks(lambda: None, step_s=0.004, block_s=0.4), []
    times, count = blocks.with_it(lambda: recorded.append(1), rate)

    assert 100 == len(times)
    assert rate * 0.4 == pytest.approx(count, abs=1)
    assert count == len(recorded)


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_number_of_a_payload_is_in_the_event_that_we_record(name: str) -> None:
    payload = PAYLOADS[name]()
    numbers = payload.pool[0]
    line, lost = LineEncoder("run", 0).encode(payload.build(numbers), Envelope(1, "default", None, None, 1))
    record = decode(line)
    [event] = adapt(record).events  # type: ignore[arg-type]
    held = set()
    for value in (getattr(event, field) for field in event.__struct_fields__):
        held.update(value.values() if isinstance(value, dict) else [value])

    assert () == lost
    assert {number for number in numbers[2:] if number not in held} == set()
