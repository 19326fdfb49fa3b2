"""Reading by declaration: names, columns, scales and types of structs that no event uses yet."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from esper_otel.esper_lite.dialect.convert import reader_of
from esper_otel.esper_lite.dialect.respell import spelled
from esper_otel.esper_lite.dialect.spelling import spelling_of
from esper_otel.esper_lite.dialect.values import Findings
from esper_otel.events.declare import note


class Mood(StrEnum):
    CALM = "calm"


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    level: Annotated[float, note("Level.", aliases=("strength",))]


class Toy(msgspec.Struct, frozen=True, kw_only=True):
    size: Annotated[float | None, note("Size, s.", aliases=("size_ms", "mass"), alias_scale=1e-3)] = None
    mass: Annotated[float | None, note("Mass, kg.", aliases=("weight",))] = None
    depth: Annotated[dict[str, float] | None, note("Depth by pool.", key="pool", aliases=("pools.{key}.depth",))] = None
    times: Annotated[dict[str, float] | None, note("Time, s.", aliases=("times_ms",), alias_scale=1e-3)] = None
    by_rank: dict[int, str] | None = None
    mood: Mood | None = None
    colour: Literal["red", "blue"] | None = None
    name: int | str | None = None
    pair: tuple[str, float] | None = None
    items: list[int] | None = None
    inner: Inner | None = None
    count: int | None = None
    sure: bool | None = None
    anything: Any = None


def read(payload: dict[str, Any]) -> tuple[Any, list[str], list[str]]:
    findings = Findings()
    reader = reader_of(Toy)
    return reader.build(reader.read(payload, "", findings)), findings.unknown, findings.mistyped


@pytest.mark.parametrize(
    ("payload", "toy"),
    [
        ({"size_ms": 500}, Toy(size=0.5)),
        ({"size_ms": "500"}, Toy(size=0.5)),
        ({"size": 2.0, "size_ms": 500}, Toy(size=2.0)),
        ({"mass": 4}, Toy(mass=4.0)),
        ({"times_ms": {"a": 500, "b": None}}, Toy(times={"a": 0.5})),
        ({"times_ms": {"a": 500, "b": 1}, "times": {"b": 2}}, Toy(times={"a": 0.5, "b": 2.0})),
        ({"pools": {"north": {"depth": 1.5}, "south": {"depth": 2}}}, Toy(depth={"north": 1.5, "south": 2.0})),
        ({"by_rank": {"3": "x"}}, Toy(by_rank={3: "x"})),
        ({"mood": "calm", "colour": "blue"}, Toy(mood=Mood.CALM, colour="blue")),
        ({"name": "x"}, Toy(name="x")),
        ({"pair": ["x", 1]}, Toy(pair=("x", 1.0))),
        ({"items": [1, 2.0, "3"]}, Toy(items=[1, 2, 3])),
        ({"inner": {"strength": 1}}, Toy(inner=Inner(level=1.0))),
        ({"anything": {"a": [1, "x"]}}, Toy(anything={"a": [1, "x"]})),
        ({"count": None, "novelty": None, "items": [None, None]}, Toy()),
    ],
)
def test_a_value_is_found_under_any_of_its_names(payload: dict[str, Any], toy: Toy) -> None:
    assert (toy, [], []) == read(payload)


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"size": True}, "size"),
        ({"size": []}, "size"),
        ({"size": 10**400}, "size"),
        ({"size_ms": "fast"}, "size_ms"),
        ({"times_ms": {"a": "x"}}, "times_ms.a"),
        ({"times": [1]}, "times"),
        ({"by_rank": {"first": "x"}}, "by_rank.first"),
        ({"mood": "sad"}, "mood"),
        ({"colour": 1}, "colour"),
        ({"name": []}, "name"),
        ({"pair": ["x"]}, "pair"),
        ({"pair": ["x", "y"]}, "pair"),
        ({"items": 1}, "items"),
        ({"items": [1, None]}, "items"),
        ({"inner": 1}, "inner"),
        ({"inner": {}}, "inner"),
        ({"count": 1.5}, "count"),
        ({"count": "one"}, "count"),
        ({"count": True}, "count"),
        ({"count": float("inf")}, "count"),
        ({"sure": 1}, "sure"),
    ],
)
def test_what_does_not_fit_its_type_is_left_out_and_named(payload: dict[str, Any], place: str) -> None:
    toy, unknown, mistyped = read({**payload, "mass": 1})

    assert 1.0 == toy.mass
    assert ([], [place]) == (unknown, mistyped)


def test_what_no_field_goes_by_is_named_by_its_place() -> None:
    assert ["novelty", "pools.north.width", "inner.x"] == (
        read({"novelty": 1, "pools": {"north": {"width": 1}}, "inner": {"level": 1, "x": 2}})[1]
    )


def test_a_field_s_own_name_means_that_field_even_where_it_is_another_s_alias() -> None:
    target = spelling_of(Toy).find("mass")

    assert target is not None
    assert "mass" == target.field


def test_the_old_spelling_undoes_scales_and_nesting() -> None:
    toy = Toy(size=0.5, times={"a": 0.25}, depth={"north": 1.5}, inner=Inner(level=2.0))

    assert {
        "size_ms": 500.0,
        "times_ms": {"a": 250.0},
        "pools": {"north": {"depth": 1.5}},
        "inner": {"strength": 2.0},
    } == spelled(toy)


def test_a_type_that_cannot_be_read_is_refused_when_it_is_declared() -> None:
    class Odd(msgspec.Struct):
        data: bytes = b""

    with pytest.raises(TypeError, match="no event field may have the type BytesType"):
        reader_of(Odd)
