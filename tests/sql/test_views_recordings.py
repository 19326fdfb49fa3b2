"""Every view over every recording of esper-lite equals what plain Python makes of the raw lines, column by column."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.sql import VIEWS, connect
from esper_otel.sql.compact import compact
from tests.recorded import RECORDINGS, recording
from tests.recordings.emit_recording import emitted
from tests.sql import checksums
from tests.sql.conftest import Recorded
from tests.sql.plain_python import ENVELOPE

OURS = {"run_id", "run_dir"}
"""Columns that say where the log lay."""

LISTS = {"op_q_values", "op_valid_mask"}
"""Maps of ours that are lists in esper-lite's view."""

OF_LINES = {"raw_events", "rejected_lines", "rejected_fields"}
"""Views of lines, which the modes write differently on purpose."""

Content = tuple[int, dict[str, tuple[int, object, dict[str, int]]]]


def content(recorded: Recorded, view: str) -> Content:
    rows, columns = checksums.of_view(recorded.connection, view)
    unread = OURS | ({"data", "source", "segment", "offset"} if view in OF_LINES else set())
    return rows, {name: facts for name, facts in columns.items() if name not in unread}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_holds_what_plain_python_reads(recorded: Recorded, view: str) -> None:
    hidden = set(ENVELOPE) - {column.name for column in VIEWS[view].columns}
    kept = [{k: v for k, v in row.items() if k not in hidden} for row in recorded.expected.get(view, [])]

    rows, columns = checksums.of_rows(kept)
    found_rows, found = content(recorded, view)

    assert rows == found_rows
    assert set(columns) == set(found)
    for name, facts in columns.items():
        assert facts == found[name], name


def test_every_field_of_every_line_is_a_column(recorded: Recorded) -> None:
    assert [] == recorded.connection.execute("SELECT * FROM rejected_fields").fetchall()


def test_the_reward_is_the_sum_of_its_components_but_where_a_rollback_took_it_back(recorded: Recorded) -> None:
    query = "SELECT count(*) FROM rewards WHERE abs(total_reward - list_sum(map_values(components))) > 1e-9"
    odd = recorded.connection.execute(query).fetchall()[0][0]

    assert len(recorded.expected.get("rollbacks", [])) == odd


def test_an_old_name_has_the_rows_of_the_new_one(recorded: Recorded) -> None:
    deprecated = {view.name: view.replaced_by for view in VIEWS.values() if view.replaced_by}

    assert {
        "epochs": "tolaria_epochs",
        "ppo_updates": "tamiyo_updates",
        "batch_epochs": "tolaria_batches",
    } == deprecated
    for old, new in deprecated.items():
        rows, columns = checksums.of_view(recorded.connection, str(new))
        old_rows, old_columns = checksums.of_view(recorded.connection, old)
        for name in LISTS & set(columns):
            count, total, others = columns[name]
            columns[name] = (count, total, {text: n for text, n in others.items() if not text.startswith("key ")})
        assert (rows, columns) == (old_rows, {name: old_columns[name] for name in columns})


def test_parquet_gives_the_same_rows(recorded: Recorded, tmp_path: Path) -> None:
    directory = compact(recorded.path, tmp_path / "parquet").directory

    with connect(directory) as compacted:
        for view in VIEWS:
            assert checksums.of_view(recorded.connection, view) == checksums.of_view(compacted, view), view


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_mode_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    path = recording(name)
    emitted_anew = {"event_id", "seq", "run_id", "run_dir", "severity", "message"}
    contents = {}
    for mode in ("domains", "domains/dup", "legacy"):
        with connect(emitted(path, tmp_path / mode, mode, meaning="esper-lite")) as runs:
            contents[mode] = {view: checksums.of_view(runs, view) for view in VIEWS if view not in OF_LINES}
            repeated = runs.execute("SELECT count(*) FROM rejected_lines WHERE reason = 'duplicate'").fetchall()[0][0]
            assert (repeated > 100) == (mode == "domains/dup")
    with connect(path) as runs:
        contents["recorded"] = {view: checksums.of_view(runs, view) for view in VIEWS if view not in OF_LINES}

    ended = {"run_ended", "runs"}  # esper-lite does not say when a run ends
    for view in set(contents["domains"]) - ended:
        expected = _without(contents["domains"][view], emitted_anew)
        for mode in ("domains/dup", "legacy", "recorded"):
            assert expected == _without(contents[mode][view], emitted_anew), (view, mode)
    assert contents["legacy"]["runs"][0] == contents["domains"]["runs"][0] == 1


def _without(content: Content, names: set[str]) -> Content:
    rows, columns = content
    exact = {name: (count, pytest.approx(total), others) for name, (count, total, others) in columns.items()}
    return rows, {name: facts for name, facts in exact.items() if name not in names}
