"""Whatever happens to runs and index, a list made with the index is the one made without it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from esper_otel.log.locks.lock import LockHeldError, WriterLock
from esper_otel.log.reader import LogReader
from esper_otel.runs import listing, reading
from esper_otel.runs.index import NAME
from esper_otel.runs.listing import rows_in
from tests.runs.lives import Past, append, batch, ended, line, log_of, started, told, update

NAMES = st.sampled_from([f"run{number}" for number in range(5)])
PICK = st.integers(0, 4)


def listed(directory: Path, *, keep: bool) -> list[dict[str, Any]]:
    rows = [row.as_json() for row in rows_in(directory, keep=keep)]
    for row in rows:
        if row.get("state") in {"running", "stalled"}:
            del row["duration_s"]  # it grows from one list to the next
    return sorted(rows, key=lambda row: row["run"])


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.past = Past()
        self.number = 0
        self.locks: list[WriterLock] = []

    def teardown(self) -> None:
        for lock in self.locks:
            lock.release()
        shutil.rmtree(self.directory)

    def runs(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if path.is_dir())

    def run(self, pick: int) -> Path:
        return self.runs()[pick % len(self.runs())]

    def next(self) -> int:
        self.number += 1
        return self.number

    @rule(name=NAMES, lr=st.sampled_from([0.1, 0.2]), has_manifest=st.booleans())
    def begin(self, name: str, lr: float, has_manifest: bool) -> None:
        run = append(self.directory / name, started(self.next(), lr=lr, task="t"))
        if has_manifest:
            told(run, status="running", tags=["a"], notes=name, world_size=1)

    @precondition(lambda self: self.runs())
    @rule(pick=PICK, reward=st.floats(-9, 9), rank=st.sampled_from([0, 0, 1]))
    def grow(self, pick: int, reward: float, rank: int) -> None:
        number = self.next()
        lines = (
            (batch(number, reward, 50.0), update(number, abs(reward), rank)) if rank == 0 else (update(number, 1.0, 1),)
        )
        append(self.run(pick), *lines, rank=rank)

    @precondition(lambda self: self.runs())
    @rule(pick=PICK, outcome=st.sampled_from(["finished", "failed"]), is_told=st.booleans())
    def end(self, pick: int, outcome: str, is_told: bool) -> None:
        run = append(self.run(pick), ended(self.next(), outcome))
        if is_told:
            told(run, status=outcome)

    @precondition(lambda self: self.runs())
    @rule(pick=PICK, part=st.integers(1, 80))
    def write_half_a_line(self, pick: int, part: int) -> None:
        append(self.run(pick), line(self.next(), "TOLARIA_TRAINING_UPDATE", update=1, loss=1.0)[:part])

    @precondition(lambda self: self.runs())
    @rule(pick=PICK)
    def rotate(self, pick: int) -> None:
        run = self.run(pick)
        if log_of(run).exists():
            number = 1 + len(list(run.glob("events.0*.jsonl")))
            log_of(run).rename(run / f"events.{number:06d}.jsonl")

    @precondition(lambda self: self.runs())
    @rule(pick=PICK, keeps_length=st.booleans())
    def rewrite_in_place(self, pick: int, keeps_length: bool) -> None:
        log = log_of(self.run(pick))
        if log.exists():
            content = log.read_bytes()
            changed = content.replace(b'"avg_reward": ', b'"avg_renard": ')
            log.write_bytes(changed if keeps_length else changed[: len(changed) // 2] + started(self.next(), lr=0.5))

    @precondition(lambda self: self.runs())
    @rule(pick=PICK)
    def take_the_lock(self, pick: int) -> None:
        lock = WriterLock(self.run(pick) / ".writer.rank0.lock")
        with suppress(LockHeldError):
            lock.acquire()
            self.locks.append(lock)

    @precondition(lambda self: self.locks)
    @rule()
    def give_the_lock_back(self) -> None:
        self.locks.pop().release()

    @precondition(lambda self: self.runs())
    @rule(pick=PICK)
    def vanish(self, pick: int) -> None:
        shutil.rmtree(self.run(pick))

    @precondition(lambda self: self.runs())
    @rule(pick=PICK, name=NAMES)
    def rename(self, pick: int, name: str) -> None:
        if not (self.directory / name).exists():
            self.run(pick).rename(self.directory / name)

    @rule()
    def delete_the_index(self) -> None:
        (self.directory / NAME).unlink(missing_ok=True)

    @rule(share=st.floats(0, 1), noise=st.binary(max_size=8))
    def tear_the_index(self, share: float, noise: bytes) -> None:
        path = self.directory / NAME
        if path.exists():
            content = path.read_bytes()
            path.write_bytes(content[: int(share * len(content))] + noise)

    @rule(place=st.floats(0, 0.999), bit=st.integers(0, 7))
    def flip_a_bit_of_the_index(self, place: float, bit: int) -> None:
        path = self.directory / NAME
        if path.exists():
            content = bytearray(path.read_bytes())
            if content:
                content[int(place * len(content))] ^= 1 << bit
            path.write_bytes(content)

    @invariant()
    def the_list_is_the_one_without_an_index(self) -> None:
        self.past.age(self.directory)
        assert listed(self.directory, keep=False) == listed(self.directory, keep=True)


def test_a_list_with_the_index_is_the_list_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WORTH_BYTES", -1)  # an index of so few runs is kept nevertheless
    run_state_machine_as_test(Lives, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))


def test_a_run_is_read_once_and_then_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WORTH_BYTES", -1)
    opened: list[str] = []

    class Watched(LogReader):
        def __init__(self, path: Path, *args: Any, positions: Any = None, **options: Any) -> None:
            opened.append(f"{Path(path).name} from {sum(each['offset'] for each in (positions or {}).values())}")
            super().__init__(path, *args, positions=positions, **options)

    monkeypatch.setattr(reading, "LogReader", Watched)
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
