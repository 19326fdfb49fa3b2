"""The catalogue: what `esper-otel signals` prints is the registry, and the page in docs is what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from esper_otel.signals import SIGNALS
from esper_otel.signals.own import OWN_SIGNALS
from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S

PROMISED = {
    *("name", "prometheus_name", "domain", "instrument", "unit", "tier", "description"),
    *("event_type", "field", "attributes"),
}
"""The keys that issue and documentation promise."""


def printed(*arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "esper-otel"), "signals", *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=python_environment(COLUMNS="250"), timeout=PATIENCE_S
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(printed("--format", "json"))
    return found


def test_every_row_has_the_promised_keys(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row) >= PROMISED, row["name"]


def test_every_signal_is_a_row_with_its_event_and_field(rows: list[dict[str, Any]]) -> None:
    of_events = [(signal.name, signal.event.event_type, signal.field or None) for signal in SIGNALS]
    expected = [*of_events, *((signal.name, None, None) for signal in OWN_SIGNALS)]
    found = [(row["name"], row["event_type"], row["field"]) for row in rows]

    assert sorted(expected, key=str) == sorted(found, key=str)


def test_every_row_says_which_domain_instrument_and_tier(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["domain"] in {"tamiyo", "tolaria", "kasmina", "simic", "esper", "hw"}
        assert row["name"].startswith(f"{row['domain']}.")
        assert row["instrument"] in {"gauge", "counter", "updowncounter", "histogram"}
        assert row["tier"] in {"low", "medium", "high"}
        assert row["description"].strip()
        assert row["attributes"][:2] == ["group_id", "rank"] or row["event_type"] is None


def test_a_histogram_s_row_has_its_bounds_and_a_violation_s_row_its_limits(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert (row["instrument"] == "histogram") == ("bounds" in row)
        assert (row["projection"] == "violations") == ("threshold" in row and bool(row["threshold_reason"]))


def test_a_row_has_the_limits_of_its_field_in_the_unit_of_the_metric(rows: list[dict[str, Any]]) -> None:
    declared = {signal.name: signal.limits for signal in (*SIGNALS, *OWN_SIGNALS) if signal.limits}

    assert {name: (limits.levels, limits.reason) for name, limits in declared.items()} == {
        row["name"]: (row[key], row[f"{key}_reason"]) for row in rows for key in ("threshold", "limits") if key in row
    }
    assert declared["tamiyo.update.duration"].levels == {"warning_above": 1.5, "critical_above": 3.0}


def test_the_page_has_the_limits_of_each_field_once(rows: list[dict[str, Any]]) -> None:
    fields = {(row["event_type"], row["field"] or row["name"]) for row in rows if {"threshold", "limits"} & set(row)}

    assert len(fields) == printed("--format", "markdown").count(" Limits: ")


@pytest.mark.parametrize(
    ("prometheus_name", "instrument"),
    [
        ("tamiyo_pre_clip_grad_norm", "histogram"),
        ("tamiyo_grad_norm_violations_total", "counter"),
        ("tamiyo_grad_norm", "gauge"),
        ("tolaria_val_accuracy", "gauge"),
        ("tolaria_forward_duration_seconds", "histogram"),
        ("kasmina_stage_changes_total", "counter"),
        ("simic_episode_reward", "gauge"),
    ],
)
def test_the_names_that_users_are_told_are_there(
    rows: list[dict[str, Any]], prometheus_name: str, instrument: str
) -> None:
    assert [instrument] == [row["instrument"] for row in rows if row["prometheus_name"] == prometheus_name]


def test_the_page_in_docs_is_what_the_command_prints() -> None:
    page = (ROOT / "docs" / "reference" / "signals.md").read_text(encoding="utf-8")

    assert page == printed("--format", "markdown"), "docs/reference/signals.md is stale: run 'make generate'"


def test_the_page_names_every_metric_once_for_each_source() -> None:
    page = printed("--format", "markdown")

    names = [(signal.name, signal.prometheus_name) for signal in SIGNALS]
    names += [(signal.name, signal.prometheus_name) for signal in OWN_SIGNALS]

    assert len(names) == page.count("\n| `")
    assert all(f"| `{name}` | `{prometheus_name}` |" in page for name, prometheus_name in names)


def test_the_table_for_people_shows_metric_and_source() -> None:
    table = printed()

    assert "tamiyo.lr" in table
    assert "TAMIYO_POLICY_UPDATE lr" in table
