"""Merged files save opening those of each small run and change no answer: not half made, not outdated, not twice."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from esper_otel.archive.address import address_of
from esper_otel.archive.merged import MERGED
from esper_otel.archive.store import ArchiveError, Store
from esper_otel.sql import VIEWS, connect
from esper_otel.sql import archived as reading
from esper_otel.sql.archiving import merge as merging
from esper_otel.sql.archiving.merge import Merged
from tests.archive.object_store import Proxy, Request, faulty
from tests.archive.rows import archived, command, counted, rows_of
from tests.archive.test_archive_equals_log import recorded
from tests.recorded import RECORDINGS, recording
from tests.runs import lives

RUNS = 5


@pytest.fixture(autouse=True)
def of_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are merged, and merged ones looked for, however few there are."""
    monkeypatch.setattr(merging, "FEWEST_SEGMENTS", 2)
    monkeypatch.setattr(reading, "WORTH", 1)


def small_runs(directory: Path, to: str, first: int = 0, count: int = RUNS) -> None:
    for number in range(first, first + count):
        run = directory / f"run-{number:02d}"
        archived(lives.append(run, lives.started(), lives.batch(number + 1, 1.0 + number, 50.0)), to)


def merge(to: str) -> Merged:
    return merging.merge(address_of(to), "200MB", pytest.fail)


def rows(to: str) -> dict[str, Counter[str]]:
    return rows_of(f"{to}/run_id=*")


def merged_keys(to: str) -> list[str]:
    return sorted(item.key for item in Store(address_of(to)).items(MERGED))


def descriptions(to: str) -> list[str]:
    return [key for key in merged_keys(to) if key.endswith(".json")]


def test_merged_files_have_the_rows_of_all_runs_and_are_made_once(archive: str, tmp_path: Path) -> None:
    small_runs(tmp_path, archive)
    expected = rows(archive)

    done = merge(archive)

    assert (RUNS, RUNS) == (done.segments, done.new_segments)
    assert rows(archive) == expected
    before = merged_keys(archive)
    assert Merged(RUNS, 0, 0) == merge(archive)
    assert before == merged_keys(archive)


def test_values_of_every_type_are_the_same_in_merged_files(tmp_path: Path) -> None:
    to = f"file://{tmp_path}/archive"
    for name in RECORDINGS:
        archived(recording(name), to)
    archived(recorded(tmp_path / "runs"), to)
    expected = rows(to)

    done = merge(to)

    assert len(RECORDINGS) < done.segments
    assert expected == rows(to)


def test_a_query_of_all_runs_reads_merged_files_and_one_of_some_runs_theirs(s3: Proxy, tmp_path: Path) -> None:
    to = "s3://telemetry/runs"
    small_runs(tmp_path, to)
    merge(to)

    for after, runs, files, merged in ((0, RUNS, 0, 1), (RUNS - 2, 2, 2, 0)):
        s3.requests.clear()
        query = f"SELECT count(*) FROM tolaria_batches WHERE timestamp > make_timestamp({lives.START_S + after}000000)"
        with connect(f"{to}/run_id=*", query=query) as connection:
            assert [(runs,)] == connection.execute(query).fetchall()
        assert files == len([path for path in s3.gets("/run_id") if path.endswith(".parquet")])
        assert merged == len([path for path in s3.gets(MERGED) if path.endswith(".parquet")])


def test_runs_that_came_later_are_read_too_and_merged_with_the_next_merge(archive: str, tmp_path: Path) -> None:
    small_runs(tmp_path, archive)
    merge(archive)
    small_runs(tmp_path, archive, RUNS, 3)

    found = rows(archive)

    assert RUNS + 3 == found["tolaria_batches"].total()
    assert RUNS + 3 == merge(archive).new_segments
    assert found == rows(archive)
    assert 1 == len(descriptions(archive))  # the smaller set is gone


def test_a_full_set_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = f"file://{tmp_path}/archive"
    monkeypatch.setattr(merging, "MOST_SEGMENTS", RUNS)
    small_runs(tmp_path / "runs", to)
    merge(to)
    first = merged_keys(to)

    small_runs(tmp_path / "runs", to, RUNS)
    found = rows(to)

    assert RUNS == merge(to).new_segments
    assert set(first) < set(merged_keys(to))
    assert found == rows(to)


def test_a_segment_that_was_replaced_since_is_read_anew(archive: str, tmp_path: Path) -> None:
    small_runs(tmp_path, archive)
    merge(archive)

    archived(lives.append(tmp_path / "run-03", lives.batch(9, 9.0, 90.0)), archive)
    found = rows(archive)

    assert RUNS + 1 == found["tolaria_batches"].total()
    merge(archive)
    assert found == rows(archive)
    assert 1 == len(descriptions(archive))


def test_a_merge_that_is_cut_off_is_not_read_and_is_done_again(s3: Proxy, tmp_path: Path) -> None:
    to = "s3://telemetry/runs"
    small_runs(tmp_path, to)
    expected = rows(to)

    def cut(request: Request) -> None:
        if request.method == "PUT" and MERGED in request.path and "training_started" in request.path:
            request.cut()

    with faulty(s3, cut), pytest.raises(ArchiveError):
        merge(to)
    assert [] == descriptions(to)
    assert merged_keys(to)
    assert expected == rows(to)

    merge(to)

    assert expected == rows(to)
    assert 1 == len(descriptions(to))


def test_sets_that_overlap_give_no_row_twice(tmp_path: Path) -> None:
    to = f"file://{tmp_path}/archive"
    store = Store(address_of(to), is_written=True)
    small_runs(tmp_path / "runs", to)
    merge(to)
    first = {key: store.get(key) for key in merged_keys(to)}
    small_runs(tmp_path / "runs", to, RUNS)
    expected = rows(to)
    merge(to)

    for key, content in first.items():  # a merge that was killed before it removed what it replaced
        store.put(key, content)

    assert 2 == len(descriptions(to))
    assert expected == rows(to)
    merge(to)
    assert expected == rows(to)
    assert 1 == len(descriptions(to))


def test_a_run_that_was_removed_is_in_no_merged_file_after_the_next_merge(tmp_path: Path) -> None:
    to = f"file://{tmp_path}/archive"
    small_runs(tmp_path / "runs", to)
    merge(to)

    for folder in ("run_id=run-03", "_segments/run_id=run-03"):
        shutil.rmtree(tmp_path / "archive" / folder)
    assert RUNS - 1 == rows(to)["tolaria_batches"].total()
    assert RUNS - 1 == merge(to).new_segments

    assert all("run-03" not in path.read_text() for path in (tmp_path / "archive" / MERGED).glob("*.json"))
    assert RUNS - 1 == rows(to)["tolaria_batches"].total()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "no description", "foreign"])
def test_merged_files_that_are_damaged_are_passed_over(s3: Proxy, tmp_path: Path, damage: str) -> None:
    to = "s3://telemetry/runs"
    small_runs(tmp_path, to)
    expected = rows(to)
    merge(to)
    store = Store(address_of(to))
    [description] = descriptions(to)
    file = next(key for key in merged_keys(to) if "/tolaria_batch" in key)
    content = store.get(file)
    if damage == "gone":
        store.remove(file)
    elif damage == "foreign":
        store.put(description, store.get(description).replace(b'"raw.', b'"../raw.'))
    elif damage == "no description":
        store.put(description, b"{")
    else:
        store.put(file, content[:-5] if damage == "cut" else content[:-5] + b"other")

    told: list[str] = []
    with connect(f"{to}/run_id=*", tell=told.append) as connection:
        assert expected == counted({view: connection.execute(f"SELECT * FROM {view}").fetchall() for view in VIEWS})
    assert all("the files of each segment are read instead" in text for text in told)
    assert bool(told) == (damage in {"changed", "no description", "foreign"})


def test_files_of_an_earlier_contract_are_merged_in_the_present_one(tmp_path: Path) -> None:
    to = f"file://{tmp_path}/archive"
    small_runs(tmp_path / "runs", to)
    expected = rows(to)
    for path in (tmp_path / "archive" / "_segments").rglob("events-*.json"):
        path.write_text(path.read_text().replace('"tolaria_batch_completed": "', '"tolaria_batch_completed": "other'))

    assert RUNS == merge(to).new_segments

    assert expected == rows(to)


def test_a_segment_that_may_still_grow_is_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = f"file://{tmp_path}/archive"
    small_runs(tmp_path / "runs", to)
    monkeypatch.setattr(merging, "SETTLED_S", 1e12)

    assert Merged(0, 0, 0) == merge(to)


def test_the_command_tells_what_it_merged_and_what_cannot_be(archive: str, tmp_path: Path) -> None:
    small_runs(tmp_path, archive, count=20)

    assert f"{archive}: files of 20 segments merged" in command("compact", archive)
    assert f"{archive}: nothing to merge; merged files cover 20 segments" in command("compact", archive)
    assert f"give the archive, {archive}" in command("compact", f"{archive}/run_id=run-01", status=2)
    assert "give neither --to nor -o" in command("compact", archive, "--to", archive, status=2)
