"""Whatever happens to runs and index, a list made with the index is the one made without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from esper_otel.log import reader
from esper_otel.log.reader import LogReader
from esper_otel.runs import listing
from esper_otel.runs.listing import rows_in
from tests.runs.histories import Lives
from tests.runs.lives import Past, append, batch, ended, log_of, started


def listed(directory: Path, *, keep: bool) -> list[dict[str, Any]]:
    rows = [row.as_json() for row in rows_in(directory, keep=keep)]
    for row in rows:
        if row.get("state") in {"running", "stalled"}:
            del row["duration_s"]  # it grows from one list to the next
    return sorted(rows, key=lambda row: row["run"])


class Whole(Lives):
    @invariant()
    def the_list_is_the_one_without_an_index(self) -> None:
        self.past.age(self.directory)
        assert listed(self.directory, keep=False) == listed(self.directory, keep=True)


def test_a_list_with_the_index_is_the_list_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WORTH_BYTES", -1)  # an index of so few runs is kept nevertheless
    run_state_machine_as_test(Whole, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))


def test_a_run_is_read_once_and_then_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WORTH_BYTES", -1)
    opened: list[str] = []

    class Watched(LogReader):
        def __init__(self, path: Path, *args: Any, positions: Any = None, **options: Any) -> None:
            opened.append(f"{Path(path).name} from {sum(each['offset'] for each in (positions or {}).values())}")
            super().__init__(path, *args, positions=positions, **options)

    monkeypatch.setattr(reader, "LogReader", Watched)
    for name in ("a", "b"):
        append(tmp_path / name, started(lr=0.1), batch(1, 1.0, 1.0))
    size = log_of(tmp_path / "a").stat().st_size
    rows_in(tmp_path)
    assert ["a from 0", "b from 0"] == sorted(opened)
    opened.clear()

    rows_in(tmp_path)
    assert [] == opened
    append(tmp_path / "a", batch(2, 2.0, 2.0))
    (found,) = [row for row in rows_in(tmp_path) if row.run == "a"]

    assert [f"a from {size}"] == opened
    assert (2, 2.0) == (found.value("rounds"), found.value("best_reward"))


def test_a_damaged_run_json_is_a_problem_of_its_run_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "WORTH_BYTES", -1)
    run, problems, said = append(tmp_path / "a", started(lr=0.1), ended(1)), [], list[str]()
    (run / "run.json").write_text("{")
    Past().age(tmp_path)
    for _ in range(2):
        (row,) = rows_in(tmp_path, said.append)
        problems.append(row.as_json()["problem"])

    assert problems == said
    assert all("run.json is not JSON" in problem for problem in problems)
    assert row.state == "finished"

    (run / "run.json").write_text('{"tags": ["mended"]}')
    (row,) = rows_in(tmp_path, said.append)
    assert (row.as_json().get("problem"), row.value("tags"), len(said)) == (None, ["mended"], 2)
