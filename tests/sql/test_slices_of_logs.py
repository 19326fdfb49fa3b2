"""A long log is read in slices by several processes, with the same rows as if it were read line after line."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from esper_otel.diagnosis import subject
from esper_otel.log.duplicates import Duplicates
from esper_otel.log.envelope import Record
from esper_otel.sql import connect
from esper_otel.sql.staging import gather, slicing
from tests.sql.made_logs import line, unpacked

WHOLE = 10**12
VIEWS = (*subject.VIEWS, "raw_events", "rejected_fields", "decisions")


def contents(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[int, int]]]:
    """Number of rows and a sum over all their values, by view."""
    return {
        view: connection.execute(f"SELECT count(*), sum(hash(v)::HUGEINT) FROM {view} AS v").fetchall()
        for view in VIEWS
    }


def read(path: Path, monkeypatch: pytest.MonkeyPatch, *, slice_bytes: int | None) -> dict[str, list[tuple[int, int]]]:
    """Contents of the views over ``path``, read in slices or, for None, line after line; with what was told."""
    monkeypatch.setattr(gather, "PARALLEL_BYTES", WHOLE if slice_bytes is None else 0)
    monkeypatch.setattr(slicing, "SLICE_BYTES", slice_bytes or WHOLE)
    told: list[str] = []
    with connect(path, views=VIEWS, tell=told.append) as connection:
        return {**contents(connection), "\n".join(told): []}


def damaged() -> bytes:
    """A recording with torn lines, zero bytes, repetitions next to each other, and arms that change."""
    lines = unpacked().splitlines(keepends=True)
    for number in range(0, len(lines), 7):
        lines[number] += lines[number]
    for number in range(3, len(lines), 50):
        lines[number] = lines[number][: len(lines[number]) // 2] + lines[number - 1]
        lines[number + 1] = b"\0" * 5000 + lines[number + 1]
    starts = [line("TRAINING_STARTED", {"n_envs": 1}, number, group_id="AB"[number % 2]) for number in range(9)]
    lone = [line("TAMIYO_INITIATED", {"env_id": 0, "epoch": 3}, 10 + number) for number in range(9)]
    for number, (start, one) in enumerate(zip(starts, lone, strict=True)):
        lines[number * len(lines) // 9] += start + one
    return b"".join(lines) + b'{"event_id": "torn'


@pytest.mark.parametrize("slice_bytes", [3_000, 60_000])
def test_rows_and_damages_are_the_same_in_slices(
    slice_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(damaged())
    whole = read(log, monkeypatch, slice_bytes=None)

    assert read(log, monkeypatch, slice_bytes=slice_bytes) == whole


def test_segments_are_slices_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = unpacked().splitlines(keepends=True)
    third = len(lines) // 3
    (tmp_path / "events.000001.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:third])))
    (tmp_path / "events.000002.jsonl").write_bytes(b"".join(lines[third : 2 * third]))
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines[2 * third :]))
    whole = read(tmp_path, monkeypatch, slice_bytes=None)

    assert read(tmp_path, monkeypatch, slice_bytes=60_000) == whole


def test_logs_that_may_tell_of_the_same_events_are_not_sliced(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(line("SEED_PRUNED", {}, 1))

    assert slicing.can_be_sliced(tmp_path / "a.jsonl")
    assert not slicing.can_be_sliced(tmp_path)


def test_what_follows_is_taken_over_only_where_it_repeats_nothing() -> None:
    def seen(*numbers: int) -> Duplicates:
        found = Duplicates()
        for number in numbers:
            found.is_repeated(Record(f"id-{number}", "X", 0, seq=number))
            found.is_repeated(Record(f"other-{number}", "X", 0))
        return found

    before, after, border = seen(1, 2), seen(3, 4), seen(2, 3)

    assert not before.goes_on_with(border.begin, border.state)
    assert before.goes_on_with(after.begin, after.state)
    assert before.state == seen(1, 2, 3, 4).state
