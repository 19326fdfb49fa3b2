"""Columns of the index: orders and conditions of many runs without a look at each entry, and as if each were read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from esper_otel.runs import listing
from esper_otel.runs.columns import MOST_SETTINGS
from esper_otel.runs.filters import condition_of, meeting, ordered
from esper_otel.runs.index import NAME, Index
from esper_otel.runs.listing import shown_in
from esper_otel.runs.rows import Row
from tests.runs.lives import Past, append, batch, ended, started, told

RUNS = 6


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs that ended long ago, each with settings of its own and of all, and their index."""
    monkeypatch.setattr(listing, "MIN_RUNS", 0)
    for number in range(RUNS):
        live(tmp_path, number)
    Past().age(tmp_path)
    listed(tmp_path, "run")
    return tmp_path


def live(directory: Path, number: int) -> None:
    """A whole run; a setting that has a column's name is not that column."""
    own = {f"only_{number}_{each}": each for each in range(MOST_SETTINGS)}
    begun = started(10 * number, lr=0.1 * (number % 3), rounds=-number, **own)
    run = append(directory / f"run{number}", begun, batch(10 * number + 1, -number, 1.0), ended(10 * number + 2))
    told(run, status="finished", tags=["odd" if number % 2 else "even"], host=f"node{number % 2}", argv=["--host", "x"])


def listed(directory: Path, order: str, *conditions: str, limit: int = 0, keep: bool = True) -> list[str]:
    def choose(rows: list[Row]) -> list[Row]:
        return ordered(meeting(rows, [condition_of(text) for text in conditions]), order, limit)

    return [row.run for row in shown_in(directory, choose, keep=keep)]


QUESTIONS: list[tuple[str, ...]] = [
    ("-best_reward",),
    ("-lr", "state = finished"),
    ("duration_s", "tags = odd"),
    ("-last_seen_at", "host ~ node0"),
    ("rounds", "last_seen_at > 2026-02-02"),
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_entries_are_read_of_the_runs_that_are_shown_alone(
    runs: Path, question: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    entry = Index.entry
    monkeypatch.setattr(Index, "entry", lambda index, name: read.append(name) or entry(index, name))

    shown = listed(runs, *question, limit=1)

    assert len(shown) == 1
    assert shown == read


def test_orders_by_more_settings_than_have_columns_are_right(runs: Path) -> None:
    for name in ("lr", "only_0_5", f"only_{RUNS - 1}_5", "only_9_5"):
        assert listed(runs, f"-{name}", keep=False) == listed(runs, f"-{name}")

    live(runs, 9)
    Past().age(runs)
    listed(runs, "run")

    for name in ("lr", "only_0_5", "only_9_5", "reward"):
        assert listed(runs, f"-{name}", keep=False) == listed(runs, f"-{name}")
        assert listed(runs, "run", f"{name} > 0", keep=False) == listed(runs, "run", f"{name} > 0")


def test_a_run_that_went_on_has_the_values_of_now(runs: Path) -> None:
    append(runs / "run3", batch(99, 7.0, 1.0))
    told(runs / "run3", tags=["chosen"])

    assert ["run3"] == listed(runs, "-best_reward", limit=1)
    assert ["run3"] == listed(runs, "run", "tags = chosen")
    assert ["run3"] == listed(runs, "run", "reward > 6")


def test_a_damaged_column_costs_time_and_nothing_else(runs: Path) -> None:
    index = runs / NAME
    column = msgspec.msgpack.encode([*Index(runs).column("reward").values()])
    content = index.read_bytes()
    assert content.count(column) > 0
    index.write_bytes(content.replace(column, bytes(len(column))))

    assert ["run0"] == listed(runs, "-best_reward", limit=1)
    assert [f"run{number}" for number in range(RUNS)] == listed(runs, "-reward")
