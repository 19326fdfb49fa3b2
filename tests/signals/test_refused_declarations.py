"""A wrong declaration is refused while the program starts, with a message that says where it is and what is wrong."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from esper_otel.events.declare import (
    Field,
    Metric,
    Threshold,
    counter,
    gauge,
    histogram,
    maximum,
    nonfinite,
    note,
    state,
    timestamp,
    violations,
)
from tests.signals.made_events import NOTE, built, event, refusal, value


def test_a_good_declaration_becomes_a_signal() -> None:
    (signal,) = built(event(value(gauge("tamiyo.made", unit="s", scale=1e-3))))

    assert signal.name == "tamiyo.made"
    assert signal.prometheus_name == "tamiyo_made_seconds"
    assert signal.domain == "tamiyo"
    assert signal.path == ("value",)
    assert (signal.unit, signal.scale) == ("s", 1e-3)
    assert signal.description == NOTE
    assert signal.attributes == ("group_id", "rank")


def test_a_metric_without_a_name_is_called_by_domain_and_field() -> None:
    (signal,) = built(event(value(gauge())))

    assert signal.name == "tamiyo.value"


def test_one_name_declared_twice_is_refused() -> None:
    message = refusal(event(value(gauge("tamiyo.made"))), event(value(gauge("tamiyo.made")), event_type="TAMIYO_OTHER"))

    assert "Made.value: metric 'tamiyo.made' is already declared by Made.value" in message


def test_a_metric_that_says_so_is_fed_by_two_events() -> None:
    shared = nonfinite("tamiyo.made", unit="{value}", description=NOTE, shared=True)

    assert len(built(event(value(shared)), event(value(shared), event_type="TAMIYO_OTHER"))) == 2


def test_a_shared_metric_that_is_declared_in_two_ways_is_refused() -> None:
    shared = nonfinite("tamiyo.made", unit="{value}", description=NOTE, shared=True)
    other = msgspec.structs.replace(shared, unit="{thing}")

    assert "is already declared" in refusal(event(value(shared)), event(value(other), event_type="TAMIYO_OTHER"))


def test_a_name_that_is_the_namespace_of_another_is_refused() -> None:
    message = refusal(event(value(gauge("tamiyo.made"), gauge("tamiyo.made.inside"))))

    assert "'tamiyo.made' is also the namespace of 'tamiyo.made.inside'" in message


@pytest.mark.parametrize("description", ["", "  "])
def test_a_field_without_a_description_is_refused(description: str) -> None:
    assert "Made.value: the description is missing" in refusal(event(value(description=description)))


def test_a_metric_of_the_event_itself_without_a_description_is_refused() -> None:
    assert "the description is missing" in refusal(event(metrics=(counter("tamiyo.made", unit="{event}"),)))


def test_a_field_that_declares_nothing_is_refused() -> None:
    assert "Made.value: declare it with Annotated" in refusal(event(("value", float | None)))


def test_a_field_that_declares_itself_twice_is_refused() -> None:
    twice = Annotated[float | None, Field(description="One."), Field(description="Two.")]

    assert "Made.value: declare it with Annotated" in refusal(event(("value", twice)))


@pytest.mark.parametrize("unit", ["ms", "GiBy", "%", "MiB", "percent", "By/{step}", "{Thing}", "1/s", "seconds"])
def test_a_unit_that_is_no_base_unit_is_refused(unit: str) -> None:
    assert f"unit {unit!r} is not allowed" in refusal(event(value(gauge(unit=unit))))


@pytest.mark.parametrize("unit", ["", "s", "By", "J", "W", "Cel", "Hz", "V", "By/s", "{seed}"])
def test_a_base_unit_is_accepted(unit: str) -> None:
    assert unit == built(event(value(gauge(unit=unit))))[0].unit


def test_the_unit_1_is_refused_on_a_name_that_is_no_ratio() -> None:
    assert "unit '1' is for names that end in '.ratio'" in refusal(event(value(gauge("tamiyo.made", unit="1"))))


def test_a_ratio_without_the_unit_1_is_refused() -> None:
    assert "has unit '1'" in refusal(event(value(gauge("tamiyo.made.ratio"))))


def test_a_ratio_with_the_unit_1_is_accepted() -> None:
    assert built(event(value(gauge("tamiyo.made.ratio", unit="1"))))[0].prometheus_name == "tamiyo_made_ratio"


@pytest.mark.parametrize("word", ["total", "seconds", "ms", "bytes", "gb", "percent", "pct"])
@pytest.mark.parametrize("name", ["tamiyo.{}", "tamiyo.made_{}", "tamiyo.{}.made", "tamiyo.made_{}_made"])
def test_a_unit_word_in_a_name_is_refused(name: str, word: str) -> None:
    assert f"the name contains {word}" in refusal(event(value(gauge(name.format(word)))))


@pytest.mark.parametrize(
    "name",
    ["tamiyo", "Tamiyo.made", "tamiyo.Made", "tamiyo.1st", "tamiyo..made", "tamiyo.made ", ".made", "tamiyo-x.y"],
)
def test_a_name_that_is_no_dotted_lower_case_name_is_refused(name: str) -> None:
    assert "the name must be lower-case words" in refusal(event(value(gauge(name))))


@pytest.mark.parametrize("name", ["tamiyo.made__twice", "tamiyo.made_", "tamiyo._made", "tamiyo_.made"])
def test_a_name_with_joints_that_translators_merge_is_refused(name: str) -> None:
    assert "joined by one '_' or '.'" in refusal(event(value(gauge(name))))


@pytest.mark.parametrize("name", ["tamiyo.made_count", "tamiyo.made.sum", "tamiyo.made_bucket"])
def test_a_name_that_ends_as_a_histogram_s_series_do_is_refused(name: str) -> None:
    assert "as the series of a histogram do" in refusal(event(value(gauge(name))))


def test_a_name_outside_the_domains_is_refused() -> None:
    assert "the name must start with one of tamiyo, tolaria" in refusal(event(value(gauge("nissa.made"))))


def test_a_histogram_without_bounds_is_refused() -> None:
    assert "a histogram needs its own bounds" in refusal(event(value(histogram(bounds=()))))


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ((0.00001, 1.0), "bounds must lie in [0.0001, 999999]"),
        ((1.0, 1_000_000.0), "bounds must lie in [0.0001, 999999]"),
        ((0.0, 1.0), "bounds must lie in [0.0001, 999999]"),
        ((1, 2), "bounds must be finite floats"),
        ((1.0, float("inf")), "bounds must be finite floats"),
        ((1.0, float("nan")), "bounds must be finite floats"),
        ((2.0, 1.0), "bounds must ascend"),
        ((1.0, 1.0), "bounds must ascend"),
    ],
)
def test_bounds_that_are_spelled_differently_somewhere_or_are_out_of_order_are_refused(
    bounds: tuple[float, ...], why: str
) -> None:
    assert why in refusal(event(value(histogram(bounds=bounds))))


def test_bounds_at_the_ends_of_the_range_are_accepted() -> None:
    assert built(event(value(histogram(bounds=(1e-4, 999_999.0)))))[0].bounds == (1e-4, 999_999.0)


def test_bounds_on_anything_but_a_histogram_are_refused() -> None:
    bounded = msgspec.structs.replace(gauge(), bounds=(1.0,))

    assert "only a histogram has bounds" in refusal(event(value(bounded)))


@pytest.mark.parametrize("field", ["seed_id", "episode_idx", "event_id"])
def test_an_unbounded_attribute_is_refused(field: str) -> None:
    named = (field, Annotated[str | None, note("An id.")])

    assert f"attribute {field!r} is not bounded" in refusal(event(named, value(gauge()), attributes=(field,)))
    assert f"attribute {field!r} is not bounded" in refusal(event(named, value(gauge(attributes=(field,)))))


def test_an_attribute_that_is_there_twice_is_refused() -> None:
    named = ("env_id", Annotated[int | None, note("Environment.")])

    message = refusal(event(named, value(gauge(attributes=("env_id",))), attributes=("env_id",)))

    assert "duplicate attribute: group_id, rank, env_id, env_id" in message


def test_a_map_without_a_key_is_refused() -> None:
    assert "a map needs key=" in refusal(event(value(gauge(), of=dict[str, float])))


def test_a_map_with_an_unbounded_key_is_refused() -> None:
    assert "attribute 'layer' is not bounded" in refusal(event(value(gauge(), of=dict[str, float], key="layer")))


def test_the_key_of_a_map_is_an_attribute() -> None:
    (signal,) = built(event(value(gauge(), of=dict[str, float], key="head")))

    assert (signal.path, signal.attributes) == (("value", "*"), ("group_id", "rank", "head"))


def test_the_fields_of_a_struct_in_a_map_are_signals_by_the_map_s_key() -> None:
    inner = msgspec.defstruct("Inner", [("size", Annotated[float | None, note("Size.", gauge("tamiyo.size"))], None)])

    (signal,) = built(event(value(of=dict[str, inner], key="slot")))  # type: ignore[valid-type]

    assert (signal.path, signal.attributes) == (("value", "*", "size"), ("group_id", "rank", "slot"))


def test_violations_without_a_threshold_are_refused() -> None:
    metric = violations("tamiyo.made_violations", threshold=Threshold(reason="None."), description=NOTE)

    message = refusal(event(value(msgspec.structs.replace(metric, threshold=None))))

    assert "violations() needs a threshold" in message


LIMITS = Threshold(warning_above=1500.0, critical_below=-500.0, reason="None.")


def test_the_limits_of_a_field_are_those_of_its_metrics_in_their_units() -> None:
    field = ("value", Annotated[float | None, note(NOTE, gauge("tamiyo.made", unit="s", scale=1e-3), limits=LIMITS)])

    (signal,) = built(event(field))

    assert signal.limits == Threshold(warning_above=1.5, critical_below=-0.5, reason="None.")


def test_the_limits_that_violations_are_counted_by_are_those_of_the_field() -> None:
    counted = violations("tamiyo.made_violations", threshold=LIMITS, description=NOTE)

    assert [LIMITS, LIMITS] == [signal.limits for signal in built(event(value(gauge("tamiyo.made"), counted)))]


def test_a_field_whose_violations_are_counted_has_no_second_limits() -> None:
    counted = violations("tamiyo.made_violations", threshold=LIMITS, description=NOTE)
    field = ("value", Annotated[float | None, note(NOTE, counted, limits=LIMITS)])

    assert "Made.value: give limits in violations() or in limits=, not in both" in refusal(event(field))


def test_a_threshold_on_anything_else_is_refused() -> None:
    metric = msgspec.structs.replace(gauge(), threshold=Threshold(warning_above=1.0, reason="None."))

    assert "violations() needs a threshold, and only it" in refusal(event(value(metric)))


@pytest.mark.parametrize(
    "metric",
    [gauge("tamiyo.made"), maximum("tamiyo.made", description=NOTE), state("tamiyo.made")],
    ids=lambda m: m.instrument,
)
def test_an_event_itself_is_counted_or_timed_only(metric: Metric) -> None:
    described = msgspec.structs.replace(metric, description=NOTE)

    assert "an event itself can only be counted or give its time" in refusal(event(metrics=(described,)))


def test_an_event_that_counts_itself_and_gives_its_time_is_accepted() -> None:
    metrics = (counter("tamiyo.made", unit="{event}", description=NOTE), timestamp("tamiyo.at", description=NOTE))

    assert [signal.path for signal in built(event(metrics=metrics))] == [(), ()]
