"""Declarations of users' own events: checked where the class is defined, and the same class in every reader."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.events import EVENT_TYPES, EventDeclared, PolicyUpdate
from esper_otel.events.declare import Domain, Event, Metric, gauge, histogram, note, state
from esper_otel.signals import SignalError, custom
from esper_otel.signals.custom import declares
from esper_otel.signals.declaration import class_of, declaration_of, parse
from esper_otel.signals.registry import SIGNALS, declared_fields


def declared(annotation: Any, event_type: str = "SIMIC_OWN", **options: Any) -> type[Event]:
    """A class with the one field ``value``."""
    cls = msgspec.defstruct(
        "Own", [("value", annotation, None)], bases=(Event,), module=__name__, frozen=True, kw_only=True
    )
    cls.__doc__ = "Something happened."
    return declares(event_type, domain=Domain.SIMIC, **options)(cls)


@pytest.mark.parametrize(
    ("annotation", "options", "what_is_wrong"),
    [
        (float | None, {}, "declare it with Annotated"),
        (Annotated[float | None, note("")], {}, "the description is missing"),
        (Annotated[complex | None, note("A value.")], {}, "is a float, int, bool, str or a dict"),
        (Annotated[list[float] | None, note("A value.")], {}, "is a float, int, bool, str or a dict"),
        (Annotated[float | None, note("A value.", gauge("own.value"))], {}, "must start with one of tamiyo"),
        (Annotated[float | None, note("A value.", gauge("simic.value_ms"))], {}, "units and 'total' are appended"),
        (Annotated[float | None, note("A value.", gauge("tamiyo.policy_loss"))], {}, "is one of the contract"),
        (Annotated[float | None, note("A value.", histogram("simic.value", bounds=()))], {}, "needs its own bounds"),
        (Annotated[str | None, note("A value.", state("simic.value"))], {}, "state() is for the contract's own sets"),
        (Annotated[dict[str, float] | None, note("A value.", gauge("simic.value"))], {}, "a map needs key="),
        (Annotated[float | None, note("A value.")], {"attributes": ("other",)}, "attributes other are no fields"),
        (Annotated[float | None, note("A value.")], {"event_type": "simic own"}, "upper-case words"),
    ],
)
def test_a_declaration_that_breaks_a_rule_is_refused_where_the_class_is_defined(
    annotation: Any, options: dict[str, Any], what_is_wrong: str
) -> None:
    with pytest.raises(SignalError, match=what_is_wrong.replace("(", r"\(").replace(")", r"\)")):
        declared(annotation, **options)


def test_an_event_type_of_the_contract_is_refused() -> None:
    with pytest.raises(TypeError, match="is declared by PolicyUpdate"):
        declared(Annotated[float | None, note("A value.")], PolicyUpdate.event_type)


def learnt(event_type: str, *metrics: Metric) -> None:
    cls = declared(Annotated[float | None, note("A value.", *metrics)], event_type)
    custom.learn(EventDeclared(declared=event_type, declaration=declaration_of(cls).text()))


def test_two_metrics_that_are_one_in_prometheus_are_refused_in_one_class_and_in_two() -> None:
    with pytest.raises(SignalError, match="two metrics are simic_own_value in Prometheus"):
        declared(Annotated[float | None, note("A value.", gauge("simic.own.value"), gauge("simic.own_value"))])
    custom.forget()
    learnt("SIMIC_ONE", gauge("simic.own.value"))
    learnt("SIMIC_ONE", gauge("simic.own.value"))
    for name in ("simic.own.value", "simic.own_value"):
        with pytest.raises(SignalError, match="is one of SIMIC_ONE"):
            learnt("SIMIC_TWO", gauge(name))
    custom.forget()


def test_the_contract_stays_what_it_is() -> None:
    before = dict(EVENT_TYPES), len(SIGNALS)
    declared(Annotated[float | None, note("A value.", gauge("simic.own_value"))])

    assert (dict(EVENT_TYPES), len(SIGNALS)) == before


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True),
        st.sampled_from([float, int, bool, str, dict[str, float], dict[str, str]]),
        min_size=1,
        max_size=8,
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=40).filter(str.strip),
)
def test_a_reader_has_a_class_with_the_same_fields_and_metrics(fields: dict[str, Any], description: str) -> None:
    cls = msgspec.defstruct(
        "Own",
        [
            (
                name,
                Annotated[type_ | None, note(description, *([gauge(f"simic.own.{name}")] if type_ is float else []))],
                None,
            )
            for name, type_ in fields.items()
            if name not in {"total", "second", "ms", "gb", "mib", "percent", "pct", "bucket", "count", "sum", "ratio"}
        ],
        bases=(Event,),
        module=__name__,
        frozen=True,
        kw_only=True,
    )
    own = declares("SIMIC_OWN", domain=Domain.SIMIC)(cls)

    made, signals = class_of(parse(declaration_of(own).text()))

    assert {name: found for name, (found, _) in declared_fields(made).items()} == {
        name: found for name, (found, _) in declared_fields(own).items()
    }
    assert [field for _, field in declared_fields(made).values()] == [
        field for _, field in declared_fields(own).values()
    ]
    assert [signal.name for signal in signals] == [
        f"simic.own.{n}" for n in own.__struct_fields__ if fields[n] is float
    ]
