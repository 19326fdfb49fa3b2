"""A run that grows: its last segment is archived before it is full, and again when it has more."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.archive.address import address_of
from esper_otel.archive.store import Store
from esper_otel.sql import connect
from tests.archive.object_store import BUCKET, Proxy, Request, faulty
from tests.archive.rows import archived, rows_of
from tests.runs import lives

TO = f"s3://{BUCKET}/runs"


def test_a_segment_that_grew_replaces_what_was_archived_of_it(archive: str, tmp_path: Path) -> None:
    run = lives.append(tmp_path / "run", lives.started(), lives.batch(1, 1.0, 50.0))
    archived(run, archive)
    lives.append(run, lives.batch(2, 2.0, 60.0))

    assert 1 == archived(run, archive).segments

    assert rows_of(run) == rows_of(archive)
    store = Store(address_of(archive))
    assert 1 == sum("-000001-" in item.key for item in store.items("_segments"))
    assert 1 == sum("/raw." in item.key for item in store.items("run_id=run"))


def test_a_segment_that_was_closed_since_is_archived_whole(archive: str, tmp_path: Path) -> None:
    run = lives.append(tmp_path / "run", lives.started(), lives.batch(1, 1.0, 50.0))
    archived(run, archive)
    lives.append(run, lives.batch(2, 2.0, 60.0))
    (run / "events.jsonl").rename(run / "events.000001.jsonl")
    lives.append(run, lives.batch(3, 3.0, 70.0))

    assert 2 == archived(run, archive).segments

    assert rows_of(run) == rows_of(archive)


def test_an_unfinished_line_is_one_only_while_nothing_follows(archive: str, tmp_path: Path) -> None:
    whole = lives.batch(2, 2.0, 60.0)
    run = lives.append(tmp_path / "run", lives.started(), whole[:30])

    archived(run, archive)

    assert rows_of(run) == rows_of(archive)
    lives.append(run, whole[30:])
    archived(run, archive)
    assert rows_of(run) == rows_of(archive)


def test_segments_that_were_archived_may_be_removed_from_the_run(archive: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for number in (1, 2):
        lives.append(run, lives.batch(number, 1.0, 50.0))
        (run / "events.jsonl").rename(run / f"events.{number:06d}.jsonl")
    lives.append(run, lives.batch(3, 1.0, 50.0))
    archived(run, archive)
    whole = rows_of(archive)
    (run / "events.000001.jsonl").unlink()
    (run / "events.000002.jsonl").unlink()
    lives.append(run, lives.batch(4, 1.0, 50.0))
    (run / "events.jsonl").rename(run / "events.000003.jsonl")

    archived(run, archive)

    with connect(archive) as connection:
        found = connection.execute("SELECT batch_idx FROM tolaria_batches ORDER BY 1").fetchall()
    assert [(1,), (2,), (3,), (4,)] == found
    assert sum(whole["raw_events"].values()) == 3


def test_a_reader_whose_list_is_old_lists_again(s3: Proxy, tmp_path: Path) -> None:
    run = lives.append(tmp_path / "run", lives.started(), lives.batch(1, 1.0, 50.0))
    archived(run, TO)
    lives.append(run, lives.batch(2, 2.0, 60.0))
    is_done = False

    def meanwhile(request: Request) -> None:
        nonlocal is_done
        if request.method == "GET" and ".parquet" in request.path and not is_done:
            is_done = True
            archived(run, TO)

    with faulty(s3, meanwhile), connect(TO, views=["tolaria_batches"]) as connection:
        assert [(1,), (2,)] == connection.execute("SELECT batch_idx FROM tolaria_batches ORDER BY 1").fetchall()
    assert is_done


def test_credentials_that_may_not_remove_are_enough(s3: Proxy, tmp_path: Path) -> None:
    def no_removal(request: Request) -> None:
        if request.method in {"DELETE", "POST"}:
            request.refuse(403, "AccessDenied")

    run = lives.append(tmp_path / "run", lives.started(), lives.batch(1, 1.0, 50.0))
    with faulty(s3, no_removal):
        archived(run, TO)
        lives.append(run, lives.batch(2, 2.0, 60.0))
        archived(run, TO)

    assert rows_of(run) == rows_of(TO)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_closed_segment_may_be_compressed_before_it_is_archived(tmp_path: Path, suffix: str) -> None:
    import gzip

    import zstandard

    run, to = tmp_path / "run", f"file://{tmp_path}/archive"
    lines = lives.started() + lives.batch(1, 1.0, 50.0)
    run.mkdir()
    packed = gzip.compress(lines) if suffix == ".gz" else zstandard.compress(lines)
    (run / f"events.000001.jsonl{suffix}").write_bytes(packed)
    lives.append(run, lives.batch(2, 2.0, 60.0))

    archived(run, to)

    assert rows_of(run) == rows_of(to)
