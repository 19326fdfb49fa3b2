"""Whatever a log went through, its rows are right: segments, compression, ranks, A/B arms, damage, several runs."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from esper_otel.sql import VIEWS, connect
from esper_otel.sql.staging import stage
from tests.sql import checksums
from tests.sql.made_logs import again_and_again, batch, line, unpacked

WHERE_IT_LAY = {"run_id", "run_dir", "source", "segment", "offset"}


def contents(path: Path) -> dict[str, object]:
    with connect(path) as connection:
        found = {view: checksums.of_view(connection, view) for view in VIEWS}
    return {
        view: (rows, {name: facts for name, facts in columns.items() if name not in WHERE_IT_LAY})
        for view, (rows, columns) in found.items()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("plain") / "events.jsonl"
    path.write_bytes(unpacked())
    return contents(path)


def test_segments_of_every_kind_are_one_log(plain: dict[str, object], tmp_path: Path) -> None:
    lines = unpacked().splitlines(keepends=True)
    (tmp_path / "events.000001.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:100])))
    (tmp_path / "events.000002.jsonl.zst").write_bytes(zstandard.compress(b"".join(lines[100:180])))
    (tmp_path / "events.000003.jsonl").write_bytes(b"".join(lines[180:200]))
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines[200:]))

    assert plain == contents(tmp_path)


def test_helper_processes_give_the_same_rows(
    plain: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PARALLEL_BYTES", 0)
    monkeypatch.setattr(stage, "BATCH_LINES", 50)
    monkeypatch.setattr(stage, "available_processes", lambda: 2)
    (tmp_path / "events.jsonl").write_bytes(unpacked())

    assert plain == contents(tmp_path)


def test_ranks_are_told_apart(tmp_path: Path) -> None:
    for rank in (0, 1):
        name = "events.jsonl" if rank == 0 else f"events.rank{rank}.jsonl"
        own = {"run_id": "r", "rank": rank, "seq": 1, "schema_version": 1}
        (tmp_path / name).write_bytes(line("HEARTBEAT", {"uptime_s": float(rank)}, 1, **own))

    with connect(tmp_path) as connection:
        assert [(0, 0.0), (1, 1.0)] == connection.execute("SELECT rank, uptime_s FROM heartbeat ORDER BY 1").fetchall()


def test_arms_of_an_ab_run_do_not_double_the_action_distribution(tmp_path: Path) -> None:
    lines = [*batch(1, "A", 1), *batch(2, "A", 3), *batch(1, "B", 5), *batch(2, "B", 7)]
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))

    with connect(tmp_path) as connection:
        query = "SELECT group_id, batch_idx, action_name, count, pct FROM action_distribution ORDER BY ALL"
        expected = [
            (group, number, name, count, count / 4)
            for group in "AB"
            for number in (1, 2)
            for name, count in (("PRUNE", 1), ("WAIT", 3))
        ]
        assert expected == connection.execute(query).fetchall()


def test_runs_one_after_the_other_in_one_file_do_not_double_it_either(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"".join([*batch(1, "default", 1), *batch(1, "default", 3)]))

    with connect(tmp_path) as connection:
        assert [(4, 1, 1)] == connection.execute(
            "SELECT count(*), min(batch_idx), max(batch_idx) FROM action_distribution"
        ).fetchall()


def test_what_is_damaged_is_listed_and_costs_nothing_else(plain: dict[str, object], tmp_path: Path) -> None:
    lines = unpacked().splitlines(keepends=True)
    bad = [b"not JSON\n", line("ISOLATION_VIOLATION", {"a": 1}, 1), lines[-1], b'{"event_type": "EPOCH_COMP']
    (tmp_path / "events.jsonl").write_bytes(b"".join([*lines[:50], bad[0], bad[1], *lines[50:], bad[2], bad[3]]))

    with connect(tmp_path) as connection:
        reasons = connection.execute('SELECT reason FROM rejected_lines ORDER BY segment, "offset"').fetchall()
        raw = connection.execute("SELECT event_type, data FROM raw_events WHERE event_id = 'id-1'").fetchall()
    found = contents(tmp_path)
    changed = {view for view in VIEWS if plain[view] != found[view]}

    assert ["malformed", "unknown_event_type", "duplicate", "torn"] == [reason for (reason,) in reasons]
    assert [("ISOLATION_VIOLATION", '{"a": 1}')] == raw
    assert {"raw_events", "rejected_lines"} == changed


def test_fields_that_no_column_holds_are_listed(tmp_path: Path) -> None:
    odd = {"gpu_utilization": "much", "colour": "red", "threshold": 0.5}
    (tmp_path / "events.jsonl").write_bytes(line("MEMORY_WARNING", odd, 1))

    with connect(tmp_path) as connection:
        query = "SELECT event_type, field, reason FROM rejected_fields ORDER BY field"
        expected = [("MEMORY_WARNING", "colour", "unknown"), ("MEMORY_WARNING", "gpu_utilization", "mistyped")]
        assert expected == connection.execute(query).fetchall()
        assert [(0.5, None)] == connection.execute("SELECT threshold, gpu_utilization FROM memory_warning").fetchall()


def test_bare_tokens_and_names_of_non_finite_numbers_are_numbers(tmp_path: Path) -> None:
    lines = [
        line("PPO_UPDATE_COMPLETED", {"policy_loss": float("nan"), "pre_clip_grad_norm": float("inf")}, 1),
        line("PPO_UPDATE_COMPLETED", {"policy_loss": "NaN", "pre_clip_grad_norm": "-Infinity"}, 2),
    ]
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))

    with connect(tmp_path) as connection:
        query = "SELECT isnan(policy_loss), pre_clip_grad_norm FROM tamiyo_updates ORDER BY event_id"
        assert [(True, float("inf")), (True, float("-inf"))] == connection.execute(query).fetchall()


def test_a_payload_longer_than_duckdb_takes_by_default_is_kept(tmp_path: Path) -> None:
    long = "x" * (15 * 2**20)
    (tmp_path / "events.jsonl").write_bytes(line("TAMIYO_INITIATED", {"env_id": 1, "other": long}, 1))

    with connect(tmp_path) as connection:
        assert [(True,)] == connection.execute("SELECT length(data) > 15 * 1024 * 1024 FROM raw_events").fetchall()


def test_many_runs_are_asked_together_and_each_counts_once(tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second"):
        runs.append(tmp_path / name)
        runs[-1].mkdir()
        (runs[-1] / "events.jsonl").write_bytes(again_and_again(1))
    (tmp_path / "latest").symlink_to("second")

    with connect([*runs, tmp_path / "latest"]) as connection:
        query = "SELECT run_id, run_dir, count(*) FROM episode_outcomes GROUP BY ALL ORDER BY ALL"
        assert [("first", "first", 4), ("second", "second", 4)] == connection.execute(query).fetchall()


def test_runs_of_one_name_are_told_apart_by_what_lies_above_them(tmp_path: Path) -> None:
    for host in ("a", "b"):
        (tmp_path / host / "run").mkdir(parents=True)
        (tmp_path / host / "run" / "events.jsonl").write_bytes(line("TAMIYO_INITIATED", {"env_id": 1}, 1))

    with connect([tmp_path / "a" / "run", tmp_path / "b" / "run"]) as connection:
        assert [("a/run",), ("b/run",)] == connection.execute(
            "SELECT run_id FROM tamiyo_initiated ORDER BY 1"
        ).fetchall()


def test_an_event_without_a_group_belongs_to_the_arm_that_is_trained_then(tmp_path: Path) -> None:
    stray = {"env_id": 0, "reason": "nan", "loss_at_panic": 1.0}
    lines = [
        line("TRAINING_STARTED", {"n_envs": 1}, 1, group_id="A"),
        line("GOVERNOR_ROLLBACK", stray, 2),
        line("TRAINING_STARTED", {"n_envs": 1}, 3, group_id="B"),
        line("GOVERNOR_ROLLBACK", stray, 4),
    ]
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))

    with connect(tmp_path) as connection:
        found = connection.execute("SELECT group_id FROM rollbacks ORDER BY timestamp").fetchall()

    assert [("A",), ("B",)] == found
