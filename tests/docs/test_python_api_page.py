"""The page of the Python API: every public name, with the arguments that it has."""

from __future__ import annotations

import inspect
import re

import pytest

import esper_otel
from esper_otel import events, sensors, sql
from tests.tools import ROOT

PAGE = (ROOT / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
CALLS = {name: " ".join(text.split()) for name, text in re.findall(r"```python\n(\w+)\((.*?)\) ->", PAGE, re.DOTALL)}


@pytest.mark.parametrize("module", [esper_otel, sensors, sql], ids=lambda module: module.__name__)
def test_every_public_name_is_on_the_page(module: object) -> None:
    assert [name for name in module.__all__ if not re.search(rf"\b{name}\b", PAGE)] == []  # type: ignore[attr-defined]


def test_events_that_are_no_events_of_their_own_are_on_the_page() -> None:
    parts = {name for name in events.__all__ if getattr(events, name) not in events.EVENT_TYPES.values()}
    assert sorted(name for name in parts if f"`{name}`" not in PAGE) == []


@pytest.mark.parametrize("name", CALLS)
def test_a_signature_on_the_page_is_that_of_the_code(name: str) -> None:
    parameters = inspect.signature(getattr(esper_otel, name)).parameters.values()
    shown = [part.strip() for part in CALLS[name].split(",") if part.strip() not in {"", "*"}]
    expected = [p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace("'", '"') for p in parameters]
    assert shown == expected
    assert set(CALLS) == {"configure", "emit", "recorder", "should_stop", "shutdown"}


def test_members_of_telemetry_are_on_the_page() -> None:
    section = PAGE.split("### Telemetry")[1].split("\n## ")[0]
    properties = [name for name, member in vars(esper_otel.Telemetry).items() if isinstance(member, property)]
    assert [name for name in properties if f"`{name}`" not in section] == []
