"""Generated reference pages: fresh, and nothing left out."""

from __future__ import annotations

import inspect
import re

import pytest

import esper_otel
from esper_otel.events import EVENT_TYPES
from esper_otel.signals.registry import walk
from esper_otel.sql.catalogue import VIEWS, tables_under
from esper_otel.sql.views.tables import table_of
from scripts import reference
from scripts.reference import commands
from scripts.reference.settings import arguments
from tests.tools import ROOT

SHELF = ROOT / "docs" / "reference"
GENERATED = reference.generated(ROOT)


def sections(name: str, level: str) -> dict[str, str]:
    """Text under each heading of a page."""
    _, *rest = re.split(rf"^{level} ", (SHELF / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in rest}


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_a_generated_page_is_fresh(path) -> None:
    assert path.read_text(encoding="utf-8") == GENERATED[path], f"{path.name} is stale: run 'make generate'"


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_the_page_of_events_has_every_field_of_an_event_with_its_metrics(name: str) -> None:
    rows = {row.split("`")[1]: row for row in sections("events.md", "###")[name].splitlines() if row.startswith("| `")}
    fields = {".".join(field.path): field for field in walk(EVENT_TYPES[name])}
    assert set(fields) <= set(rows)
    for path, field in fields.items():
        named = [metric.name or f"{EVENT_TYPES[name].domain}.{field.path[-1]}" for metric in field.declaration.metrics]
        assert all(f"`{metric}`" in rows[path] for metric in named)


def test_the_page_of_events_has_the_limits_of_a_field_on_both_sides_in_its_own_unit() -> None:
    page = sections("events.md", "###")
    columns = {
        row.split("`")[1]: row.split(" | ")[4]
        for row in page["TAMIYO_POLICY_UPDATE"].splitlines()
        if row.startswith("| `")
    }
    assert columns["td_error_mean"] == "warning above 5, critical above 15, warning below -5, critical below -15"
    assert columns["update_time_ms"] == "warning above 1500, critical above 3000"
    assert columns["clip_fraction"].startswith("warning above "), "limits that a counter counts by"
    assert columns["policy_loss"] == ""


def test_the_page_of_events_links_every_view_that_is_made_of_an_event() -> None:
    views = {
        name: set(re.findall(r"\]\(views\.md#(\w+)\)", text)) for name, text in sections("events.md", "###").items()
    }
    tables = {cls.event_type: table_of(cls).name for cls in EVENT_TYPES.values()}

    for event_type, table in tables.items():
        assert views[event_type] == {name for name in VIEWS if table in tables_under([name])}
        assert views[event_type], f"{event_type} is in no view"


def test_the_page_of_views_has_every_column() -> None:
    listed = {
        name: re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE) for name, text in sections("views.md", "##").items()
    }
    assert listed == {view.name: [column.name for column in view.columns] for view in VIEWS.values()}


def test_the_page_of_the_command_line_has_every_command_with_its_own_help() -> None:
    listed = sections("cli.md", "##")
    assert list(listed) == [" ".join(["esper-otel", *words]) for words in commands.command_names()]
    assert {"relay", "sql", "report", "mcp", "doctor"} <= {name.split()[-1] for name in listed}
    assert "--follow" in listed["esper-otel relay"]


def test_every_argument_of_configure_has_a_meaning() -> None:
    assert [name for name, *_ in arguments()] == [
        f"`{name}`" for name in inspect.signature(esper_otel.configure).parameters
    ]
    assert all(meaning.endswith(".") for *_, meaning in arguments())
