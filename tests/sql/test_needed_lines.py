"""A line that no wanted view needs is not converted, and everything else is as if every line were."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from esper_otel.comparison import curves
from esper_otel.diagnosis import subject
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.sql import connect
from esper_otel.sql.catalogue import tables_under
from esper_otel.sql.staging.needed import Needed
from tests.sql import checksums
from tests.sql.made_logs import line, unpacked

CHOICES = {"diagnosis": subject.VIEWS, "comparison": curves.VIEWS, "two": ("batch_stats", "decisions")}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    path.write_bytes(unpacked())
    return path


@pytest.mark.parametrize("views", CHOICES.values(), ids=CHOICES)
def test_rows_are_the_same_as_when_every_line_is_converted(views: tuple[str, ...], log: Path) -> None:
    with connect(log) as whole, connect(log, views=views, all_rejected=False) as chosen:
        for view in views:
            assert checksums.of_view(chosen, view) == checksums.of_view(whole, view), view


def test_lines_are_chosen_by_their_kind_as_well(log: Path) -> None:
    needed = Needed(tables_under(curves.VIEWS), all_rejected=True)
    with LogReader(log) as reader:
        types = Counter(item.event_type for item in reader.read(100_000) if needed.has(of_event(item)))

    assert set(types) == {"TRAINING_STARTED", "BATCH_EPOCH_COMPLETED", "EPISODE_OUTCOME"}


def test_without_all_rejected_lines_only_those_of_known_types_that_nobody_needs_are_left_out(tmp_path: Path) -> None:
    unreadable = {"env_id": [], "batch": {}}
    (tmp_path / "events.jsonl").write_bytes(
        b"not JSON\n"
        + line("ISOLATION_VIOLATION", {"a": 1}, 1)
        + line("ANALYTICS_SNAPSHOT", {"kind": "nobody_knows"}, 2)
        + line("SEED_GATE_EVALUATED", [unreadable], 3)
        + line("EPOCH_COMPLETED", [unreadable], 4)
    )

    found = {}
    for is_all in (True, False):
        with connect(tmp_path, views=subject.VIEWS, all_rejected=is_all) as connection:
            rows = connection.execute("SELECT coalesce(event_type, reason) FROM rejected_lines").fetchall()
            found[is_all] = {name for (name,) in rows}

    assert {"SEED_GATE_EVALUATED"} == found[True] - found[False]
    assert {"malformed", "ISOLATION_VIOLATION", "ANALYTICS_SNAPSHOT", "EPOCH_COMPLETED"} == found[False]


def test_a_snapshot_whose_kind_cannot_be_read_is_needed(log: Path) -> None:
    needed = Needed(frozenset({"tamiyo_update_skipped"}), all_rejected=True)
    with LogReader(log) as reader:
        snapshot = next(
            record
            for item in reader.read(100_000)
            if (record := of_event(item)).event_type == "ANALYTICS_SNAPSHOT"
            and json.loads(record.data)["kind"] == "last_action"
        )

    assert not needed.has(snapshot)
    assert needed.has(msgspec.structs.replace(snapshot, data=b'{"kind": NaN}'))


def of_event(item: object) -> Record:
    assert isinstance(item, Record)
    return item
