"""The registry: what it holds, and that it cannot be imported while a declaration is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from esper_otel.events import EVENT_TYPES, Domain, Severity, Tier
from esper_otel.events.declare import Threshold, declares
from esper_otel.signals.attributes import ATTRIBUTES
from esper_otel.signals.registry import SIGNALS, declared_fields
from tests.signals.made_events import event, value
from tests.tools import python_environment
from tests.waiting import PATIENCE_S


def test_one_event_type_is_declared_once() -> None:
    with pytest.raises(TypeError, match="'TAMIYO_POLICY_UPDATE' is declared by PolicyUpdate and Made"):
        declares("TAMIYO_POLICY_UPDATE", domain=Domain.TAMIYO)(event(value()))


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ({"warning_above": 1.0, "critical_above": 2.0}, [None, None, "warning", "critical"]),
        ({"warning_below": 2.0, "critical_below": 1.0}, ["critical", "warning", None, None]),
        ({"critical_above": 2.0}, [None, None, None, "critical"]),
    ],
)
def test_a_value_violates_the_first_limit_beyond_which_it_lies(
    threshold: dict[str, float], expected: list[str | None]
) -> None:
    limits = Threshold(reason="A test.", **threshold)

    assert expected == [limits.severity_of(number) for number in (0.5, 1.0, 2.0, 2.5)]


def test_a_wrong_declaration_stops_the_import_of_the_registry() -> None:
    program = """
from typing import Annotated
from esper_otel.events.declare import Domain, Event, declares, gauge, note

@declares("TAMIYO_WRONG", domain=Domain.TAMIYO)
class Wrong(Event, frozen=True, kw_only=True):
    __module__ = "esper_otel.events.wrong"
    wait: Annotated[float | None, note("Wait, ms.", gauge(unit="ms"))] = None

import esper_otel.signals
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=python_environment(), timeout=PATIENCE_S
    )

    assert ended.returncode == 1
    assert "SignalError: Wrong.wait: metric 'tamiyo.wait': unit 'ms' is not allowed" in ended.stderr


def test_the_contract_is_read_without_torch_and_opentelemetry() -> None:
    program = (
        "import sys, esper_otel.signals; print([m for m in ('torch', 'opentelemetry', 'numpy') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=python_environment(), timeout=PATIENCE_S
    )

    assert (ended.stdout, ended.returncode) == ("[]\n", 0)


def test_every_registered_attribute_says_what_its_values_are_and_has_a_bound() -> None:
    for name, attribute in ATTRIBUTES.items():
        assert name == attribute.name
        assert attribute.description.strip()
        assert 0 < attribute.limit <= 16_384
        assert len(attribute.values) <= attribute.limit


@pytest.mark.parametrize("attribute", ["run_id", "episode_idx", "seed_id", "event_id", "seq", "inner_epoch"])
def test_identities_are_never_metric_attributes(attribute: str) -> None:
    assert not [signal.name for signal in SIGNALS if attribute in signal.attributes]


@pytest.mark.parametrize(
    ("suffix", "unit", "scale"),
    [
        ("_ms", "s", 1e-3),
        ("_s", "s", 1.0),
        ("_gb", "By", 2.0**30),
        ("_bytes", "By", 1.0),
        ("_pct", "1", 0.01),
    ],
)
def test_a_field_that_names_its_unit_is_scaled_to_the_metric_s(suffix: str, unit: str, scale: float) -> None:
    measured = [signal for signal in SIGNALS if signal.field.endswith(suffix) and signal.unit == unit]

    assert measured
    assert {signal.name: scale for signal in measured} == {signal.name: signal.scale for signal in measured}


def test_every_signal_reads_a_field_that_its_event_declares() -> None:
    for signal in SIGNALS:
        fields = declared_fields(signal.event)

        assert not signal.path or signal.path[0] in fields
        assert {field for field, _ in signal.attribute_fields} <= set(fields)


def test_severities_and_tiers_are_those_of_the_plan() -> None:
    assert {"debug", "info", "warning", "error", "critical"} == {severity.value for severity in Severity}
    assert {"low", "medium", "high"} == {tier.value for tier in Tier}
    assert all(isinstance(cls.severity, Severity) for cls in EVENT_TYPES.values())
