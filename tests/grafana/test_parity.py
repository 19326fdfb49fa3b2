"""Nobody misses anything: every view of esper-lite and every ranked field has a panel, or a reason."""

from __future__ import annotations

from collections import Counter

from grafana.parity.partly import PARTLY
from grafana.parity.row import ParityRow
from grafana.parity.table import TABLE, open_rows, verdict, wrong_homes

VIEWS = {
    "Sanctum, the terminal UI": 31,
    "Overwatch, the web dashboard": 17,
    "Other consumers": 8,
    "Tier 1 of the plan": 13,
    "Tier 2 of the plan": 11,
    "Tier 3 of the plan": 6,
}
"""How many rows the inventory and the plan have."""


def test_every_view_and_field_is_in_the_table_once() -> None:
    assert VIEWS == Counter(row.section for row in TABLE)
    assert len(TABLE) == len({(row.section, row.name) for row in TABLE})


def test_every_row_has_a_panel_on_each_dashboard_that_it_belongs_to_or_a_reason() -> None:
    assert [] == open_rows()


def test_every_panel_of_the_table_exists_and_shows_what_is_claimed() -> None:
    assert [] == wrong_homes()


def test_what_is_missing_is_said_of_rows_that_exist_and_have_a_panel() -> None:
    with_panels = {row.name for row in TABLE if row.homes}

    assert [] == sorted(PARTLY.keys() - with_panels)
    assert {row.name for row in TABLE if verdict(row).startswith("partly: ")} == PARTLY.keys()


def test_a_home_that_does_not_exist_is_found(monkeypatch) -> None:
    row = ParityRow(section="s", name="n", homes=("tamiyo/nowhere",), shows=("tamiyo.kl_divergence",))
    monkeypatch.setattr("grafana.parity.table.TABLE", (row,))

    (first, second) = wrong_homes()

    assert "no panel 'nowhere'" in first
    assert "do not show tamiyo.kl_divergence" in second
