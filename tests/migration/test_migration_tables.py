"""The tables of docs/guides/migration.md: fresh, complete, and true."""

from __future__ import annotations

import json
import re

import pytest

from esper_otel.events import EVENT_TYPES
from esper_otel.signals.registry import SIGNALS
from esper_otel.sql import VIEWS
from scripts import migration_tables
from tests.tools import ROOT

PAGE = (ROOT / "docs" / "guides" / "migration.md").read_text(encoding="utf-8")
OLD = json.loads((ROOT / migration_tables.OLD_FIELDS).read_bytes())
CHOOSES_THE_EVENT = {"kind", "skipped", "update_skipped"}


def section(key: str) -> str:
    start = PAGE.index(f"### {key.replace(':', ', kind ')} →")
    return PAGE[start:].split("\n### ")[0]


def test_the_page_is_fresh() -> None:
    assert {ROOT / "docs" / "guides" / "migration.md": PAGE} == migration_tables.generated(ROOT)


@pytest.mark.parametrize("key", [key for key in OLD if key.count(":") < 2])
def test_every_field_that_esper_lite_has_is_in_the_table_of_its_line(key: str) -> None:
    cells = [line.split("|")[1] for line in section(key).splitlines() if line.startswith("| `")]
    names = re.findall(r"`([^`]+)`", " ".join(cells))

    for name in set(OLD[key]) - CHOOSES_THE_EVENT:
        assert any(
            re.fullmatch(re.sub(r"<\w+>", r"\\w+", each), name) or each.startswith(f"{name}.") for each in names
        ), name


def test_every_metric_and_column_of_the_tables_exists() -> None:
    fields = PAGE.split("## Fields")[1]
    metrics = set(re.findall(r"`([\w.]+)` → `(\w+)`", fields))
    columns = {
        tuple(name.split(".")) for name in re.findall(r"`([a-z_]+\.[a-z_0-9]+)`(?:<br>| \|$)", fields, re.MULTILINE)
    }
    known = {(view.name, column.name) for view in VIEWS.values() for column in view.columns}
    pairs = {(signal.name, signal.prometheus_name) for signal in SIGNALS}

    assert 150 < len(metrics)
    assert metrics <= pairs
    assert 300 < len({pair for pair in columns if pair[0] in VIEWS})
    assert {pair for pair in columns if pair[0] in VIEWS} <= known


@pytest.mark.parametrize(
    "row",
    [
        "| `PPO_UPDATE_COMPLETED` | `TAMIYO_POLICY_UPDATE` | `tamiyo.policy_update` | `tamiyo_updates` |",
        "| `GOVERNOR_ROLLBACK` | `TOLARIA_ROLLBACK` | `tolaria.rollback` | `rollbacks` |",
        "| `ppo_updates` | `tamiyo_updates` |",
        (
            "| `v_return_correlation` | `value_target_correlation` | `tamiyo.value_target_correlation`"
            " → `tamiyo_value_target_correlation` | `tamiyo_updates.value_target_correlation` |"
        ),
    ],
)
def test_the_tables_say_what_the_plan_says(row: str) -> None:
    assert row in PAGE


def test_every_event_is_named() -> None:
    assert [] == [name for name in EVENT_TYPES if f"`{name}`" not in PAGE]


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="end of events"):
        migration_tables._put("nothing", "events", "")
