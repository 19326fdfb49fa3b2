"""Real trainers and relays that a test starts, stops, suspends and kills one by one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.relay.processes import environment, manifest, samples, scrape
from tests.tools import ROOT
from tests.waiting import PATIENCE_S

ANSWER_S = PATIENCE_S
"""Longest wait for the answer of a process."""

UPDATE = "TAMIYO_POLICY_UPDATE"


class Trainer:
    """A controlled training process; those that a test leaves behind are ended by :func:`close_all`.

    Attributes:
        longest_emit_s: longest time that emit() took so far.
        configured_s: time that configure() took.
    """

    def __init__(
        self,
        directory: Path,
        run_id: str,
        *options: str,
        rank: int = 0,
        world_size: int = 1,
        **env: str,
    ) -> None:
        arguments = [str(directory), "--run-id", run_id, "--rank", str(rank), "--world-size", str(world_size)]
        _open.append(self)
        self.rank = rank
        self.is_suspended = False
        self.longest_emit_s = 0.0
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.lifecycle.controlled_trainer", *arguments, *options],
            cwd=ROOT,
            env=environment(**env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.configured_s = self._answer("ready")

    @property
    def pid(self) -> int:
        return self._child.pid

    def emit(self, count: int) -> None:
        """Emit updates; they are on disk when this returns."""
        self._tell(f"emit {count}")
        self.longest_emit_s = max(self.longest_emit_s, self._answer("emitted"))

    def end(self, outcome: str) -> None:
        """Shut down."""
        self._tell(f"end {outcome}")
        self._answer("ended")
        self._child.wait(ANSWER_S)

    def suspend(self) -> None:
        self._child.send_signal(signal.SIGSTOP)
        self.is_suspended = True

    def resume(self) -> None:
        self._child.send_signal(signal.SIGCONT)
        self.is_suspended = False

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(ANSWER_S)

    def close(self) -> None:
        """Kill it if it lives and close its pipes."""
        if self._child.poll() is None:
            self.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def _tell(self, command: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(f"{command}\n".encode())

    def _answer(self, word: str) -> float:
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], ANSWER_S)
        assert ready, f"rank {self.rank} did not answer within {ANSWER_S:g} s: '{word}' was expected"
        line = self._child.stdout.readline().decode().split()
        assert line[:1] == [word], f"rank {self.rank} answered {line}, not '{word}'"
        return float(line[1])


_open: list[Trainer] = []


def close_all() -> None:
    """End all trainers of this test."""
    while _open:
        _open.pop().close()


class FollowingRelay:
    """A relay that follows a run and lingers for ever."""

    def __init__(self, run: Path, console: Path, *options: str) -> None:
        self.is_suspended = False
        self._url = ""
        with console.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "esper_otel.relay", str(run), "--follow", "--linger", "3600", *options],
                cwd=ROOT,
                env=environment(),
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        return self._child.poll() is None

    def url(self, run: Path) -> str:
        """Where it serves; empty while it does not."""
        entry = manifest(run).get("relay") or {}
        if not self._url and entry.get("pid") == self.pid:
            self._url = entry["prometheus_url"]
        return self._url

    def suspend(self) -> None:
        self._child.send_signal(signal.SIGSTOP)
        self.is_suspended = True

    def resume(self) -> None:
        self._child.send_signal(signal.SIGCONT)
        self.is_suspended = False

    def terminate(self) -> None:
        self._child.terminate()
        self._child.wait(ANSWER_S)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(ANSWER_S)

    def close(self) -> None:
        if self.is_alive:
            self.kill()


def seen(url: str) -> tuple[int, str | None]:
    """Updates counted, and state of the run, as the relay at ``url`` serves them."""
    states, updates = [], 0
    for (name, labels), value in samples(scrape(url)).items():
        if name == "esper_run_status" and value == 1.0:
            states.append(dict(labels)["esper_run_state"])
        elif name == "esper_events_total" and dict(labels)["event_type"] == UPDATE:
            updates += int(value)
    return updates, states[0] if len(states) == 1 else None


def is_running(pid: int) -> bool:
    """Whether a process of that number lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end_process(pid: int) -> None:
    """Terminate a relay that a trainer started, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + ANSWER_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
