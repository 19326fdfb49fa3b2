"""A load generator: simulated ranks behind simulated agents, each at the pace of the captured run.

A process of its own, started by :mod:`benchmarks.scaling.steps`; ends by itself::

    python -m benchmarks.scaling.load SCHEDULE --endpoint 127.0.0.1:4317 --first 0 --ranks 100 --seconds 60

An agent stands for a node: it gathers what its ranks sent within a second and makes one export of it for each signal,
compressed with gzip as the collector's exporters do.
Prints one JSON object: what was sent, what was answered, and how late it was.
"""

from __future__ import annotations

import argparse
import heapq
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

import grpc
import msgspec

from benchmarks.scaling.capture import METHODS
from benchmarks.scaling.schedule import Schedule

FLUSH_S: Final = 1.0
"""How long an agent gathers before it exports."""

IN_FLIGHT: Final = 256
"""Exports without an answer at which the generator waits: a gateway that hangs must not fill its memory."""

TIMEOUT_S: Final = 30.0


class Target(msgspec.Struct, frozen=True):
    """Destination: host and port; with a token also a certificate authority's file, which implies TLS."""

    endpoint: str
    authority: str | None = None
    token: str | None = None

    def channel(self) -> grpc.Channel:
        """A new connection."""
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        if self.authority is None:
            return grpc.insecure_channel(self.endpoint, options, compression=grpc.Compression.Gzip)
        credentials = grpc.ssl_channel_credentials(Path(self.authority).read_bytes())
        return grpc.secure_channel(self.endpoint, credentials, options, compression=grpc.Compression.Gzip)


class Outcome(msgspec.Struct):
    """Outcome of the load.

    Attributes:
        sent_bytes: bytes of the messages by signal.
        answers: exports by gRPC status.
        slowest_s: longest time to an answer.
        late_s: largest delay of an export behind its time, because too many were without an answer or the generator
            had no CPU left.
    """

    sent_bytes: dict[str, int]
    answers: dict[str, int]
    slowest_s: float = 0.0
    late_s: float = 0.0


class Rank:
    """One simulated rank: it stands at a random point of the captured run."""

    def __init__(self, schedule: Schedule, number: int, chance: random.Random) -> None:
        self._schedule = schedule
        self._number = number
        self._offset_s = chance.uniform(0, schedule.period_s)
        self._cycle = 0
        self._next = next((i for i, m in enumerate(schedule.messages) if m.at_s >= self._offset_s), 0)
        self._began_s = -self._offset_s if self._next else schedule.period_s - self._offset_s
        self._metrics_s = chance.uniform(0, schedule.metrics_every_s)

    def take(self, until_s: float, into: dict[str, list[bytes]]) -> None:
        """Add everything that is due by ``until_s``, s since the load began."""
        schedule = self._schedule
        while self._began_s + schedule.messages[self._next].at_s <= until_s:
            message = schedule.messages[self._next]
            body = schedule.as_rank(message.body, message.trace_ids, self._number, self._cycle)
            into.setdefault(message.signal, []).append(body)
            self._next += 1
            if self._next == len(schedule.messages):
                self._next, self._cycle = 0, self._cycle + 1
                self._began_s += schedule.period_s
        if self._metrics_s <= until_s and self._number % schedule.metrics_ranks == 0:
            self._metrics_s += schedule.metrics_every_s
            into.setdefault("metrics", []).append(schedule.as_rank(schedule.metrics, (), self._number, 0))


class Sender:
    """Exports without waiting for answers, up to :data:`IN_FLIGHT`."""

    def __init__(self, target: Target) -> None:
        self.outcome = Outcome({}, {})
        self._answers: Counter[str] = Counter()
        self._slots = threading.BoundedSemaphore(IN_FLIGHT)
        self._lock = threading.Lock()
        self._channel = target.channel()
        self._metadata = (("authorization", f"Bearer {target.token}"),) if target.token else ()
        self._calls = {signal: self._channel.unary_unary(method) for signal, method in METHODS.items()}

    def send(self, signal: str, body: bytes) -> None:
        """Export one message; waits while too many are without an answer."""
        self._slots.acquire()
        sent = self.outcome.sent_bytes
        sent[signal] = sent.get(signal, 0) + len(body)
        began = time.monotonic()
        call = self._calls[signal].future(body, timeout=TIMEOUT_S, metadata=self._metadata)
        call.add_done_callback(lambda answer: self._answered(answer, began))

    def _answered(self, answer: grpc.Future, began: float) -> None:
        with self._lock:
            self._answers[answer.code().name] += 1
            self.outcome.slowest_s = max(self.outcome.slowest_s, time.monotonic() - began)
        self._slots.release()

    def close(self) -> Outcome:
        """Wait for the answers and return the outcome."""
        deadline = time.monotonic() + TIMEOUT_S
        for _ in range(IN_FLIGHT):
            self._slots.acquire(timeout=max(deadline - time.monotonic(), 0))
        self._channel.close()
        self.outcome.answers = dict(self._answers)
        return self.outcome


def run(schedule: Schedule, target: Target, ranks: range, ranks_per_agent: int, seconds: float) -> Outcome:
    """Send the traffic of ``ranks`` for ``seconds``."""
    chance = random.Random(ranks.start)
    simulated = [Rank(schedule, number, chance) for number in ranks]
    agents = [simulated[i : i + ranks_per_agent] for i in range(0, len(simulated), ranks_per_agent)]
    due = [(chance.uniform(0, FLUSH_S), index) for index in range(len(agents))]
    heapq.heapify(due)
    sender = Sender(target)
    began = time.monotonic()
    while due[0][0] < seconds:
        at_s, index = heapq.heappop(due)
        heapq.heappush(due, (at_s + FLUSH_S, index))
        wait_s = at_s - (time.monotonic() - began)
        if wait_s > 0:
            time.sleep(wait_s)
        sender.outcome.late_s = max(sender.outcome.late_s, -wait_s)
        if -wait_s > TIMEOUT_S:
            break  # hopelessly behind; more would prove nothing
        _flush(agents[index], at_s, sender)
    return sender.close()


def _flush(agent: list[Rank], at_s: float, sender: Sender) -> None:
    gathered: dict[str, list[bytes]] = {}
    for rank in agent:
        rank.take(at_s, gathered)
    for signal, bodies in gathered.items():
        sender.send(signal, b"".join(bodies))


def main() -> None:
    """Run and print the outcome as JSON."""
    parser = argparse.ArgumentParser(description="Simulated ranks that export to one gateway.")
    parser.add_argument("schedule", type=Path)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--authority")
    parser.add_argument("--token")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--ranks-per-agent", type=int, default=8)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    schedule = msgspec.msgpack.decode(given.schedule.read_bytes(), type=Schedule)
    target = Target(given.endpoint, given.authority, given.token)
    ranks = range(given.first, given.first + given.ranks)
    outcome = run(schedule, target, ranks, given.ranks_per_agent, given.seconds)
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()
