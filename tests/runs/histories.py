"""A state machine whose rules are what happens to the runs of a directory and to its index."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from esper_otel.log.locks.lock import LockHeldError, WriterLock
from esper_otel.runs.index import NAME
from tests.runs.lives import Past, append, batch, ended, line, log_of, started, told, update

NAMES = st.sampled_from([f"run{number}" for number in range(5)])
PICK = st.integers(0, 4)


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
        return sorted(path for path in self.directory.iterdir() if path.is_dir() and not path.is_symlink())

    def run(self, pick: int) -> Path:
        return self.runs()[pick % len(self.runs())]

    def continued(self, pick: int) -> Path:
        """A run that somebody writes to, whatever became of it."""
        return self.run(pick)

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
        append(self.continued(pick), *lines, rank=rank)

    @precondition(lambda self: self.runs())
    @rule(pick=PICK, outcome=st.sampled_from(["finished", "failed"]), is_told=st.booleans())
    def end(self, pick: int, outcome: str, is_told: bool) -> None:
        run = append(self.continued(pick), ended(self.next(), outcome))
        if is_told:
            told(run, status=outcome)

    @precondition(lambda self: self.runs())
    @rule(pick=PICK, part=st.integers(1, 80))
    def write_half_a_line(self, pick: int, part: int) -> None:
        append(self.continued(pick), line(self.next(), "TOLARIA_TRAINING_UPDATE", update=1, loss=1.0)[:part])

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
        log = log_of(self.continued(pick))
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
