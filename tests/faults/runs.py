"""Real training runs that a fault test starts, breaks and judges."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from esper_otel.log.writing.losses import LossReason
from tests.otlp_receiver import OtlpReceiver, attributes, wait_for_events
from tests.relay.processes import environment, manifest
from tests.tools import ROOT
from tests.waiting import PATIENCE_S, wait_for

STEPS = 200
LEARNER = "numpy"
KEPT_NS = 50_000_000
"""Events older than this survive the death of their process, ns."""

EXPORT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_METRIC_EXPORT_INTERVAL": "1000", "OMP_NUM_THREADS": "1"}


class Trainer:
    """A training process under test.

    Attributes:
        run: its run directory.
        child: the process.
    """

    def __init__(self, directory: Path, arguments: list[str], env: dict[str, str], scratch: Path) -> None:
        self.run = directory / "run"
        self._result = scratch / "result.json"
        self._stderr = (scratch / "stderr").open("w+")
        # nohup and background jobs leave signals ignored to their children
        command = ["env", "--default-signal=INT,HUP", sys.executable]
        command += ["-m", "tests.faults.child", str(directory), "--result", str(self._result)]
        self.child = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=environment(**{**EXPORT, **env}),
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )

    def steps(self, count: int) -> list[tuple[int, int]]:
        """Wait for ``count`` more steps; their numbers and times of the day, ns."""
        assert self.child.stdout is not None
        found = [line.split() for _ in range(count) if (line := self.child.stdout.readline())]
        assert len(found) == count, f"training ended early:\n{self.said()}"
        return [(int(number), int(at_ns)) for number, at_ns in found]

    def go_on(self, step: int) -> None:
        """Let training go on that ``--hold-at`` holds after ``step``."""
        self._result.with_name(f"go on after {step}").touch()

    def finish(self, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the end of training; its result."""
        self.child.communicate(timeout=timeout_s)
        assert self.child.returncode == 0, self.said()
        result: dict[str, Any] = json.loads(self._result.read_text())
        return result

    def rest(self) -> list[tuple[int, int]]:
        """Steps that were printed before a killed process was gone."""
        assert self.child.stdout is not None
        lines = [line.split() for line in self.child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        return [(int(line[0]), int(line[1])) for line in lines if len(line) == 2]

    def said(self) -> str:
        """What it wrote to standard error so far."""
        return Path(self._stderr.name).read_text()

    def close(self) -> None:
        """Kill what is left of it and of its relay."""
        self.child.kill()
        self.child.wait()
        if self.child.stdout is not None:
            self.child.stdout.close()
        self._stderr.close()
        pid = (manifest(self.run).get("relay") or {}).get("pid")
        if pid and not is_gone(self.run):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)


@contextmanager
def train(
    directory: Path,
    *options: str,
    steps: int = STEPS,
    pause: float = 0.005,
    learner: str = LEARNER,
    scratch: Path | None = None,
    **env: str,
) -> Iterator[Trainer]:
    """A training process that writes to ``directory/run``; killed at the end if it still runs.

    ``scratch`` is where the test's own files go when ``directory`` is the one that breaks.
    """
    arguments = ["--steps", str(steps), "--pause", str(pause), "--learner", learner, *options]
    trainer = Trainer(directory, arguments, env, scratch or directory)
    try:
        yield trainer
    finally:
        trainer.close()


def is_gone(run: Path) -> bool:
    """Whether no relay works on the run: nobody holds its lock."""
    try:
        with (run / "relay" / "lock").open("r+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def relay_said(run: Path) -> str:
    """What the relay of the run wrote to its console file."""
    path = run / "relay" / "relay.log"
    return path.read_text(errors="replace") if path.exists() else ""


def lines_of(run: Path) -> list[dict[str, Any]]:
    """Every whole line of the run's log, by plain JSON; a newline ends one, nothing else that Unicode knows."""
    paths = [*sorted(run.glob("events.0*.jsonl")), run / "events.jsonl"]
    return [json.loads(line) for path in paths for line in path.read_bytes().split(b"\n") if line.endswith(b"}")]


def types_in(run: Path) -> Counter[str]:
    """Lines of each event type."""
    return Counter(line["event_type"] for line in lines_of(run))


def ids_in(run: Path) -> list[str]:
    """Event ids of every whole line."""
    return [line["event_id"] for line in lines_of(run)]


def delivered(receiver: OtlpReceiver) -> Counter[str]:
    """How often each event arrived as a log event."""
    return Counter(str(attributes(log)["esper.event.id"]) for log in receiver.logs)


def wait_delivered(receiver: OtlpReceiver, run: Path) -> float:
    """Wait until every line of the finished run arrived, some perhaps twice; how long that took, s."""
    started = time.monotonic()
    wait_for_events(receiver, lines_of(run))
    return time.monotonic() - started


def numbers_in(run: Path) -> list[int]:
    """Sequence numbers of every whole line, in the order of the log."""
    return [line["seq"] for line in lines_of(run)]


def told_losses(run: Path) -> int:
    """Events that the log itself says are missing; what a test emits in the log's name is not counted."""
    told = [line["data"] for line in lines_of(run) if line["event_type"] == "TELEMETRY_LOSS"]
    return sum(loss["count"] for loss in told if loss.get("reason") in [*LossReason])


def steps_in(run: Path) -> int:
    """Steps of training that the log tells of."""
    return sum(line["event_type"] == "TOLARIA_EPOCH_COMPLETED" for line in lines_of(run))


def safe_step(steps: list[tuple[int, int]], at_ns: int, slack_ns: int = 0) -> int:
    """The last step that was printed more than 50 ms (and ``slack_ns``) before ``at_ns``; 0 for none."""
    return max((number for number, printed_ns in steps if printed_ns < at_ns - KEPT_NS - slack_ns), default=0)


def announced_url(run: Path) -> str:
    """URL of the relay's endpoint, once it is announced in run.json."""
    return str(wait_for(lambda: (manifest(run).get("relay") or {}).get("prometheus_url"), "the relay's endpoint"))


def resident_mb(pid: int) -> float:
    """Memory of a process that is resident, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
