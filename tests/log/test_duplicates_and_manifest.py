"""Counting events once, and the run's manifest."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from esper_otel.log import manifest
from esper_otel.log.duplicates import WINDOW, Duplicates
from esper_otel.log.envelope import Record


def record(seq: int | None = None, event_id: str = "", rank: int = 0) -> Record:
    return Record(event_id, "A", 0, seq=seq, rank=rank, run_id="r")


def test_a_line_whose_number_was_passed_is_a_repetition() -> None:
    seen = Duplicates()

    assert [False, True, False, True] == [seen.is_repeated(record(seq)) for seq in (1, 1, 2, 1)]
    assert not seen.is_repeated(record(1, rank=1))


def test_lines_that_do_not_count_are_known_by_their_id() -> None:
    seen = Duplicates()

    assert [False, True, False] == [seen.is_repeated(record(event_id=name)) for name in ("a", "a", "b")]
    assert [False, False] == [seen.is_repeated(record()) for _ in range(2)]


def test_what_was_seen_survives_a_restart() -> None:
    before = Duplicates()
    before.is_repeated(record(5))
    before.is_repeated(record(event_id="a"))

    after = Duplicates(json.loads(json.dumps(before.state)))

    assert [True, True] == [after.is_repeated(record(5)), after.is_repeated(record(event_id="a"))]


def test_memory_of_ids_is_bounded() -> None:
    seen = Duplicates()
    for number in range(3 * WINDOW):
        seen.is_repeated(record(event_id=str(number)))

    assert WINDOW == len(seen.state["recent_ids"])


def test_updates_from_many_threads_lose_nothing(tmp_path: Path) -> None:
    threads = [threading.Thread(target=manifest.update, args=(tmp_path,), kwargs={f"f{n}": n}) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {f"f{n}": n for n in range(16)} == manifest.read(tmp_path)
    assert [".run.json.lock", "run.json"] == sorted(path.name for path in tmp_path.iterdir())


def test_a_run_without_a_manifest_has_an_empty_one(tmp_path: Path) -> None:
    assert {} == manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_manifest_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)

    with pytest.raises(ValueError, match=r"run\.json"):
        manifest.read(tmp_path)
