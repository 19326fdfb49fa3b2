"""Every field of esper-lite's contract is carried by a field of ours, under its name or an alias.

`upstream_fields.json`, beside the dialect, holds one line's payload for each of its event types and kinds, with every
field of the class, those of nested classes included, filled. The values are made up: each stands there once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import msgspec
import pytest

from esper_otel.esper_lite.dialect.adapt import Adapted, adapt
from esper_otel.events import EVENT_TYPES
from esper_otel.log.envelope import Record

PAYLOADS: dict[str, dict[str, Any]] = json.loads(
    (files("esper_otel.esper_lite.dialect") / "upstream_fields.json").read_bytes()
)

NOT_CARRIED = {
    "SEED_GERMINATED": {"grad_ratio"},
    "PERFORMANCE_DEGRADATION": {"env_id"},
    "PHASE_PROFILE_COMPLETED": {"batch_idx"},
    "ALLOCATOR_STATS": {"batch_idx"},
}
"""Values that mean nothing (gradients of a seed at birth, an env_id that is always 0) or are counted from 1 instead."""


def adapted(line: str) -> Adapted:
    event_type = line.split(":", 1)[0]
    return adapt(Record("id", event_type, 0, data=json.dumps(PAYLOADS[line]).encode()))


def told(value: Any) -> Iterator[float | str]:
    """The numbers and texts inside a value; costs may change their sign."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from told(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from told(inner)
    elif isinstance(value, str):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield abs(value)


@pytest.mark.parametrize("line", PAYLOADS)
def test_every_field_of_esper_lite_is_known_and_fits(line: str) -> None:
    found = adapted(line)

    assert (found.reason, found.unknown_fields, found.mistyped) == (None, (), ())


@pytest.mark.parametrize("line", PAYLOADS)
def test_what_a_field_of_esper_lite_says_stands_in_an_event(line: str) -> None:
    carried = set(told([msgspec.to_builtins(event) for event in adapted(line).events]))
    lost = {name for name, value in PAYLOADS[line].items() if name != "kind" and not carried >= set(told(value))}

    assert NOT_CARRIED.get(line, set()) == lost


def test_every_old_name_of_an_event_is_a_line_of_the_fixture() -> None:
    old = {cls.legacy_type if cls.legacy_kind is None else f"{cls.legacy_type}:{cls.legacy_kind}" for cls in _renamed()}

    assert old <= set(PAYLOADS)


def test_the_fixture_holds_the_whole_contract() -> None:
    event_types = {line.split(":", 1)[0] for line in PAYLOADS}

    assert len(event_types) == 31
    assert len(PAYLOADS["PPO_UPDATE_COMPLETED"]) == 160
    assert len(PAYLOADS["ANALYTICS_SNAPSHOT:last_action"]["reward_components"]) == 43


def _renamed() -> list[Any]:
    return [cls for cls in EVENT_TYPES.values() if cls.legacy_type is not None]
