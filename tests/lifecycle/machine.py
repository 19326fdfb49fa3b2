"""The life of a run in any order: trainers and relays are started, ended, killed, suspended, renamed away and cleaned.

After each step the log holds every event once, the relay that serves has counted each of them once and shows the right
state, and no call of emit() took long.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from tests.lifecycle.processes import UPDATE, FollowingRelay, Trainer, seen
from tests.waiting import PATIENCE_S, queued_by_thread

MOST_RANKS = 3
RIGHT_WITHIN_S = 5.0
"""Time after a step within which the relay shows the right numbers and state, on a machine with nothing else to do."""

BLOCKED_S = 1.0
"""A call of emit() takes less than a microsecond; on a busy machine the process may be set aside for a while."""

ENDS = st.sampled_from(("finished", "failed", "interrupted"))


class Wait(NamedTuple):
    """Time from a step to the right numbers and state in a scrape.

    Attributes:
        step: the last step before it.
        wall_s: by the clock.
        own_s: without the time for which the relay's hungriest thread was ready to run and had no core.
        is_silence_due: a trainer was killed while its lock was missing, so that only 15 s of silence prove its death.
    """

    step: str
    wall_s: float
    own_s: float
    is_silence_due: bool


class Tally:
    """What was done over all sequences, for the report."""

    def __init__(self) -> None:
        self.sequences = 0
        self.steps: Counter[str] = Counter()
        self.longest_emit_s = 0.0
        self.longest_configure_s = 0.0
        self.waits: list[Wait] = []

    def prompt(self) -> list[Wait]:
        """Waits for what is seen without 15 s of silence, the shortest first."""
        return sorted((wait for wait in self.waits if not wait.is_silence_due), key=lambda wait: wait.own_s)

    def own_s(self, share: float) -> float:
        """The time within which ``share`` of the waits were over."""
        waits = self.prompt()
        return waits[min(int(share * len(waits)), len(waits) - 1)].own_s if waits else 0.0

    def report(self) -> str:
        shares = ", ".join(f"p{share:.0%}".rstrip("%") + f" {self.own_s(share):.2f} s" for share in (0.5, 0.9, 0.99, 1))
        slowest = "; ".join(f"{w.step} {w.own_s:.2f} s of {w.wall_s:.2f} s" for w in self.prompt()[:-4:-1])
        silences = [wait.wall_s for wait in self.waits if wait.is_silence_due]
        return (
            f"{self.sequences} sequences, {sum(self.steps.values())} steps ({dict(self.steps.most_common())}); "
            f"longest emit {self.longest_emit_s * 1e3:.2f} ms, longest configure {self.longest_configure_s:.2f} s\n"
            f"right state and numbers after {shares} without the time that the relay waited for a core "
            f"({len(self.prompt())} waits; slowest: {slowest})\n"
            f"deaths proven by silence alone: {len(silences)}, at most {max(silences, default=0.0):.2f} s"
        )


TALLY = Tally()


class LifeOfARun(RuleBasedStateMachine):
    """A run of up to three ranks with up to two relays."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="life-"))
        self.names = 0
        self.run = self.directory / "run0"
        self.world_size = 1
        self.trainers: dict[int, Trainer] = {}
        self.outcomes: dict[int, str] = {}
        self.relays: list[FollowingRelay] = []
        self.emitted = 0
        self.last_step = ""
        self.is_silence_due = False
        TALLY.sequences += 1

    # What is done

    @initialize(size=st.integers(1, MOST_RANKS), count=st.integers(1, 50))
    def begin(self, size: int, count: int) -> None:
        self.start_session(size)
        self.emit(count)
        self.start_relay()

    @precondition(lambda self: not self.trainers)
    @rule(size=st.integers(1, MOST_RANKS))
    def start_session(self, size: int) -> None:
        """A restart, a requeue, the trainer's own resume; with another number of ranks, elastic scaling."""
        self._step("start_session")
        self.world_size = size
        for rank in range(size):
            self._start(rank)

    @precondition(lambda self: 0 < len(self.trainers) < self.world_size)
    @rule(data=st.data())
    def start_rank(self, data: st.DataObject) -> None:
        """One process is started again while others go on."""
        missing = [rank for rank in range(self.world_size) if rank not in self.trainers]
        self._step("start_rank")
        self._start(data.draw(st.sampled_from(missing)))

    @precondition(lambda self: self._awake())
    @rule(count=st.integers(1, 200))
    def emit(self, count: int) -> None:
        """All ranks that are not suspended go on training."""
        self._step("emit")
        for trainer in self._awake():
            trainer.emit(count)
            self.emitted += count
            TALLY.longest_emit_s = max(TALLY.longest_emit_s, trainer.longest_emit_s)
            assert trainer.longest_emit_s < BLOCKED_S

    @precondition(lambda self: self._awake())
    @rule(data=st.data(), outcome=ENDS)
    def end(self, data: st.DataObject, outcome: str) -> None:
        trainer = data.draw(st.sampled_from(self._awake()))
        self._step("end")
        trainer.end(outcome)
        self._gone(trainer.rank, outcome)

    @precondition(lambda self: self._awake())
    @rule(outcome=ENDS)
    def end_all(self, outcome: str) -> None:
        self._step("end_all")
        for trainer in self._awake():
            trainer.end(outcome)
            self._gone(trainer.rank, outcome)

    @precondition(lambda self: self.trainers)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        rank = data.draw(st.sampled_from(sorted(self.trainers)))
        self._step("kill")
        self.trainers[rank].kill()
        self._gone(rank, "died")

    @precondition(lambda self: self.trainers)
    @rule()
    def kill_all(self) -> None:
        self._step("kill_all")
        for rank in list(self.trainers):
            self.trainers[rank].kill()
            self._gone(rank, "died")

    @precondition(lambda self: self.trainers)
    @rule(data=st.data())
    def suspend_or_resume(self, data: st.DataObject) -> None:
        trainer = self.trainers[data.draw(st.sampled_from(sorted(self.trainers)))]
        self._step("resume" if trainer.is_suspended else "suspend")
        (trainer.resume if trainer.is_suspended else trainer.suspend)()

    @precondition(lambda self: len(self.relays) < 2)
    @rule()
    def start_relay(self) -> None:
        """A second one waits until the first is gone."""
        self._step("start_relay")
        self.relays.append(
            FollowingRelay(self.run, self.directory / "console", "--stall-after", "600", "--wait", "600")
        )

    @precondition(lambda self: self.relays)
    @rule(is_killed=st.booleans())
    def end_relay(self, is_killed: bool) -> None:
        self._step("kill_relay" if is_killed else "terminate_relay")
        relay = self.relays.pop(0)
        if relay.is_suspended:
            relay.resume()
        (relay.kill if is_killed else relay.terminate)()

    @precondition(lambda self: self.relays)
    @rule()
    def suspend_or_resume_relay(self) -> None:
        relay = self.relays[0]
        self._step("resume_relay" if relay.is_suspended else "suspend_relay")
        (relay.resume if relay.is_suspended else relay.suspend)()

    @precondition(lambda self: len(self.relays) < 2)  # one that waits was told the old name
    @rule()
    def rename(self) -> None:
        self._step("rename")
        self.names += 1
        renamed = self.directory / f"run{self.names}"
        self.run.rename(renamed)
        self.run = renamed

    @rule(has_locks=st.booleans(), has_state=st.booleans())
    def clean(self, has_locks: bool, has_state: bool) -> None:
        """What systemd-tmpfiles does to files that were not touched for days."""
        self._step("clean")
        suspended = {trainer.rank for trainer in self.trainers.values() if trainer.is_suspended}
        for path in self.run.glob(".writer.rank*.lock") if has_locks else ():
            if not any(path.name == f".writer.rank{rank}.lock" for rank in suspended):
                path.unlink(missing_ok=True)
        if has_state and len(self.relays) < 2:  # the lock that keeps the second one waiting is in there
            shutil.rmtree(self.run / "relay", ignore_errors=True)

    # What is right after each step

    @invariant()
    def every_event_is_in_the_log_once(self) -> None:
        if not self.run.exists():
            return
        with LogReader(self.run) as reader:
            records = [item for batch in iter(reader.read, []) for item in batch]
        updates = [item for item in records if isinstance(item, Record) and item.event_type == UPDATE]
        assert len({(item.rank, item.seq) for item in updates}) == len(updates) == self.emitted

    @invariant()
    def the_relay_counts_every_event_once_and_knows_the_state(self) -> None:
        if not self.relays or self.relays[0].is_suspended:
            return
        relay, expected = self.relays[0], (self.emitted, self._state())
        found: tuple[int, str | None] = (-1, None)
        began, before = time.monotonic(), queued_by_thread(relay.pid)
        while found != expected:
            assert relay.is_alive, (self.directory / "console").read_text()
            assert time.monotonic() - began < PATIENCE_S, f"{found} instead of {expected}\n{self._console()}"
            time.sleep(0.05)
            url = relay.url(self.run)
            found = seen(url) if url else found
        wall_s = time.monotonic() - began
        queued = queued_by_thread(relay.pid)
        own_s = wall_s - max((queued[thread] - before.get(thread, 0.0) for thread in queued), default=0.0)
        TALLY.waits.append(Wait(self.last_step, wall_s, own_s, self.is_silence_due))
        self.is_silence_due = False

    def teardown(self) -> None:
        for trainer in self.trainers.values():
            trainer.close()
        for relay in self.relays:
            relay.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _awake(self) -> list[Trainer]:
        return [trainer for _, trainer in sorted(self.trainers.items()) if not trainer.is_suspended]

    def _state(self) -> str:
        """A living process makes the run a running one; else the worst end of the newest session's ranks counts."""
        if self.trainers:
            return "running"
        ends = {outcome for rank, outcome in self.outcomes.items() if rank < self.world_size}
        return next(outcome for outcome in reversed(RUN_OUTCOMES) if outcome in ends)

    def _start(self, rank: int) -> None:
        trainer = Trainer(self.directory, self.run.name, rank=rank, world_size=self.world_size)
        self.trainers[rank] = trainer
        self.outcomes.pop(rank, None)
        TALLY.longest_configure_s = max(TALLY.longest_configure_s, trainer.configured_s)

    def _gone(self, rank: int, outcome: str) -> None:
        has_lock = (self.run / f".writer.rank{rank}.lock").exists()
        self.is_silence_due = self.is_silence_due or (outcome == "died" and not has_lock)
        self.trainers.pop(rank).close()
        self.outcomes[rank] = outcome

    def _step(self, name: str) -> None:
        TALLY.steps[name] += 1
        self.last_step = name
        note(f"{name}: {sorted(self.trainers)} live, {self.outcomes}, {len(self.relays)} relays")

    def _console(self) -> str:
        path = self.directory / "console"
        return path.read_text() if path.exists() else ""
