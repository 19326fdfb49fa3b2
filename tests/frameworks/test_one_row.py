"""A row of the table of programs in small: a program of torch alone, and what makes a row fail."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.frameworks.evidence import PAGE, cells, exploded, programs
from tests.frameworks.explosions import CASES as EXPLOSIONS
from tests.frameworks.ledger import UPDATES_CHART, Exploded, Row, Shown
from tests.frameworks.matrix import CASES
from tests.frameworks.rows import of_torch, row_of
from tests.tools import tool

TOLARIA, TAMIYO = "Tolaria: host training", "Tamiyo: policy"
GOOD = Row(
    name="a program",
    program="program.py",
    ranks=1,
    seconds=20.0,
    lines_changed=0,
    made=8,
    seen=8,
    with_norm=8,
    difference=1e-8,
    weights_equal=True,
    boards=[Shown(TOLARIA, 13, 31, []), Shown(TAMIYO, 0, 47, [])],
    charts=[UPDATES_CHART],
    all_charts=10,
    exceptions=0,
    faults=[],
    outcome="finished",
)
BROKEN = {
    "lines_changed": 1,
    "seen": 7,
    "with_norm": 7,
    "difference": 2e-6,
    "weights_equal": False,
    "boards": [Shown(TOLARIA, 12, 31, ["Loss by model"]), Shown(TAMIYO, 0, 47, [])],
    "charts": [],
    "exceptions": 1,
    "faults": ["autolog unreadable"],
    "outcome": "died",
}


def test_an_unchanged_program_fills_panels_and_charts_and_trains_as_without_us(tmp_path: Path) -> None:
    tool("prometheus")
    row = row_of("a policy in one file", of_torch("ppo.py", updates=64), tmp_path)

    assert row.wrong() == []
    assert row.made == 64
    (tolaria,) = (board for board in row.boards if board.board == TOLARIA)
    assert tolaria.panels >= 10


@pytest.mark.parametrize("field", BROKEN)
def test_a_row_with_one_thing_wrong_is_a_failed_one(field: str) -> None:
    row = msgspec.structs.replace(GOOD, **{field: BROKEN[field]})

    assert GOOD.wrong() == []
    assert len(row.wrong()) == 1
    assert "FAILED" in cells(row)[1]


def test_what_was_not_run_has_no_figures() -> None:
    lines = programs({GOOD.name: GOOD}).splitlines()

    assert len(lines) == 2 + len(CASES) + 1
    assert sum("not run" in line for line in lines) == len(CASES)


@pytest.mark.parametrize("wrong", [{"fired": 99}, {"healthy_fired": 1}])
def test_an_explosion_that_did_not_fire_or_a_healthy_run_that_did_is_a_failure(wrong: dict[str, int]) -> None:
    (name, *_) = EXPLOSIONS
    good = Exploded(name, runs=100, fired=100, healthy=4, healthy_fired=0, seconds=1.0, between_scrapes=90)

    assert "FAILED" not in exploded({name: good})
    assert "FAILED" in exploded({name: msgspec.structs.replace(good, **wrong)})


def test_the_page_has_every_program_and_no_failure() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert "FAILED" not in text
    assert [name for name in [*CASES, *EXPLOSIONS] if f"| {name}" not in text] == []
