"""Ranks under load: programs that emit, a real relay for each that sends to an agent, and what their logs say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.cluster import rounds
from tests.kafka.tally import Tally
from tests.relay.processes import process
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

JOBS: Final = ("first", "second")
RANKS: Final = (0, 1)
"""Of each job, each on a node of its own: all spans of a round have one trace, and come through two agents."""

MANY_ROUNDS: Final = "1000000"
RELAY: Final = ["--of-node", "--linger", "0", "--drain", f"{PATIENCE_S:g}"]
METRICS: Final = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "5000"}


class Rank(msgspec.Struct, frozen=True):
    """One rank of one job.

    Attributes:
        run: directory of its run.
        trainer: emits until it is told to end.
        relay: sends until the run has ended and everything was taken.
    """

    run: Path
    trainer: subprocess.Popen[str]
    relay: subprocess.Popen[str]

    def lines(self) -> list[dict[str, Any]]:
        """Lines of its log so far, the whole ones."""
        (log,) = self.run.glob("events*.jsonl")
        return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def events(self) -> set[str]:
        """Ids of its events so far."""
        return {line["event_id"] for line in self.lines()}

    def by_type(self) -> Counter[str]:
        """Number of its events of each type."""
        return Counter(line["event_type"] for line in self.lines())

    def end(self) -> None:
        """Let the trainer end in order, and wait until the relay has delivered everything."""
        self.trainer.send_signal(signal.SIGTERM)
        self.trainer.communicate(timeout=PATIENCE_S)
        _, said = self.relay.communicate(timeout=PATIENCE_S)
        assert self.relay.returncode == 0, said[-2000:]

    def tell(self, receiver: Tally, state: Path) -> None:
        """Send everything that follows from its log to ``receiver``, by a relay of its own."""
        command = ["-m", "esper_otel.relay", str(self.run), *RELAY, "--from-start", "--state-dir", str(state)]
        done = subprocess.run(
            [sys.executable, *command],
            env=python_environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint, **METRICS),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def ranks(directory: Path, *variables: dict[str, str]) -> Iterator[list[Rank]]:
    """Start all; the relay of rank N has ``variables[N]``."""
    with ExitStack() as running:
        started = []
        for job in JOBS:
            for rank in RANKS:
                node = directory / f"node{rank}"
                who = {"RANK": f"{rank}", "LOCAL_RANK": "0", "WORLD_SIZE": f"{len(RANKS)}", "ESPER_OTEL_RUN_ID": job}
                command = [sys.executable, rounds.__file__, str(node), MANY_ROUNDS]
                environment = python_environment(ESPER_OTEL_RELAY="0", **who)
                trainer = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, text=True)
                running.callback(trainer.wait)
                running.callback(trainer.kill)
                relay = running.enter_context(
                    process("-m", "esper_otel.relay", str(node / job), "--follow", *RELAY, **variables[rank], **METRICS)
                )
                started.append(Rank(node / job, trainer, relay))
        yield started
