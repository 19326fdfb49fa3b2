"""The pipeline of the alerts: it has the run diagnosed every few seconds, writes what is new to the log and notifies.

It has a thread and a process of its own, so that no receiver and no rule delays what the relay delivers. The log is its
memory: what it has is neither written nor sent again, by this relay or a later one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from esper_otel.relay.alerts.evaluator import Answer, EvaluationError, Evaluator, Told
from esper_otel.relay.alerts.findings import FindingsLog, Reported, about, event_of
from esper_otel.relay.alerts.notify import Notifier, RefusedError, payload_of
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say, say_once
from esper_otel.relay.following import Worker
from esper_otel.relay.pipeline import Account

CHECKPOINT: Final = "alerts"

EVERY_S: Final = 10.0
"""Time between two evaluations: two of them find what lasts, within 20 s."""

CONFIRM_S: Final = 5.0
"""The same while something critical waits for the second of them."""

SHARE: Final = 0.1
"""Share of a core that evaluations may take; longer ones come less often."""

MOST_OF_A_KIND: Final = 20
"""Findings of one kind in a session that are reported: a fault of every environment needs no thousand messages."""

ATTEMPTS: Final = 5
RETRY_S: Final = 2.0
"""Pause before the second attempt; it doubles with each further one."""

_ORDER: Final = {"info": 0, "warning": 1, "critical": 2}
Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Notification(msgspec.Struct):
    """A finding on its way to one receiver.

    Attributes:
        reported: the finding.
        receiver: where to.
        attempts: attempts that failed.
        due_at: when the next one is due, monotonic, s.
    """

    reported: Reported
    receiver: Notifier
    attempts: int = 0
    due_at: float = 0.0


class AlertPipeline(Worker):
    """Diagnoses the run, and reports each finding once.

    Attributes:
        signal: name in the relay's own metrics.
        exported: notifications that a receiver took.
        failed: attempts that failed.
        refused: notifications that were given up.
        last_error: the last failure as text.
    """

    destination = "alerts"
    is_required = False
    JOIN_S = 2.0
    signal: Final = "alerts"

    def __init__(
        self,
        evaluator: Evaluator,
        log: FindingsLog,
        receivers: Sequence[Notifier],
        *,
        directory: StateDirectory | None,
        resource: Mapping[str, Any],
        follow: bool,
    ) -> None:
        """Go on behind what the log has; what was written there and not sent is sent.

        Args:
            evaluator: diagnoses the run.
            log: the findings so far.
            receivers: where notifications go; none: findings are written to the log alone.
            directory: where the relay keeps its state, None for nowhere.
            resource: OpenTelemetry's resource of the run.
            follow: whether the run goes on; otherwise it is diagnosed once, at its end.
        """
        super().__init__()
        self._evaluator, self._log, self._receivers = evaluator, log, list(receivers)
        self._directory, self._resource, self._follow = directory, resource, follow
        self._known: dict[Key, str] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._seen: dict[tuple[str, Key], float] = {}
        self._sent: dict[str, None] = {}
        self._pending: list[Notification] = []
        self.exported = self.failed = self.refused = 0
        self.last_error = ""
        self._restore()

    @property
    def accounts(self) -> Sequence[Account]:
        """The only account: this pipeline."""
        return [self]

    def describe(self) -> str:
        """One line for the console."""
        names = " and ".join(("the log", *(receiver.name for receiver in self._receivers)))
        return f"alerts: the run is diagnosed every {EVERY_S:g} s; findings go to {names}"

    def work(self) -> bool:
        """Evaluate and notify until the end."""
        due_at = 0.0 if self._follow else float("inf")
        while not self._is_finishing.is_set() and not self._stop.is_set():
            if time.monotonic() >= due_at:
                core_s = self._evaluate(is_last=False)
                due_at = time.monotonic() + max(self._pause_s(), core_s / SHARE)
            self._notify()
            nearest = min((each.due_at for each in self._pending), default=due_at)
            self._is_finishing.wait(max(min(nearest, due_at, time.monotonic() + 1.0) - time.monotonic(), 0.05))
        if self._stop.is_set():
            return False
        self._evaluate(is_last=True)
        while self._pending and not self._stop.is_set():
            self._notify()
            self._stop.wait(0.05)
        return not self._pending

    def rest(self) -> None:
        """End the diagnosing process."""
        self._evaluator.close()

    def cut(self) -> None:
        """Nothing: a running evaluation looks at the stop itself."""

    def _evaluate(self, *, is_last: bool) -> float:
        """Report what is new; returns the time of a core that it took, s."""
        try:
            answer = self._evaluator.ask(self._stop.is_set)
        except EvaluationError as error:
            say_once(f"evaluation {error}", f"alerts: {error}; it is tried again")
            return EVERY_S
        if answer is None:
            return 0.0
        if answer.error:
            say_once(f"evaluation {answer.error}", f"alerts: the run cannot be diagnosed now: {answer.error}")
        else:
            self._take(answer, is_last=is_last)
        return answer.core_s

    def _pause_s(self) -> float:
        waits = any(severity == "critical" and _is_more(severity, self._known.get(key)) for severity, key in self._seen)
        return min(CONFIRM_S, EVERY_S) if waits else EVERY_S

    def _take(self, answer: Answer, *, is_last: bool) -> None:
        now = time.monotonic()
        seen = {(each.severity, _key(answer.session, each)): each for each in answer.findings}
        self._seen = {key: self._seen.get(key, now) for key in seen}
        for (severity, key), told in seen.items():
            if not _is_more(severity, self._known.get(key)):
                continue
            if is_last or _is_held(told, now - self._seen[severity, key]):
                self._report(key, told, answer.session)

    def _report(self, key: Key, told: Told, session: str) -> None:
        self._known[key] = told.severity
        count = self._counts[session, told.kind] = self._counts.get((session, told.kind), 0) + 1
        if count > MOST_OF_A_KIND:
            say_once(
                f"{session} {told.kind}",
                f"{MOST_OF_A_KIND} findings of the kind {told.kind} were reported; the rest is not",
            )
            return
        reported = self._log.add(event_of(told, session))
        say(f"finding ({told.severity}): {told.sentence}")
        self._queue(reported)

    def _queue(self, reported: Reported) -> None:
        if reported.event.grade != "info" and reported.event_id not in self._sent:
            self._pending += [Notification(reported, receiver) for receiver in self._receivers]

    def _notify(self) -> None:
        for each in list(self._pending):
            if self._stop.is_set():
                return
            if each.due_at <= time.monotonic():
                self._attempt(each)

    def _attempt(self, each: Notification) -> None:
        try:
            each.receiver.send(payload_of(each.reported, self._resource))
        except Exception as error:  # a receiver is somebody else's; whatever it raises, the run is watched on
            self.failed += 1
            self.last_error = f"{each.receiver.name}: {error or type(error).__name__}"
            each.attempts += 1
            each.due_at = time.monotonic() + RETRY_S * 2 ** (each.attempts - 1)
            if not isinstance(error, RefusedError) and each.attempts < ATTEMPTS:
                return
            self.refused += 1
            say(f"alerts: gave up a notification after {each.attempts} attempts ({self.last_error}); the log has it")
        else:
            self.exported += 1
        self._pending.remove(each)
        if all(other.reported.event_id != each.reported.event_id for other in self._pending):
            self._store(each.reported.event_id)

    def _store(self, event_id: str) -> None:
        self._sent[event_id] = None
        if self._directory is not None:
            self._directory.save(CHECKPOINT, {"sent": list(self._sent)})

    def _restore(self) -> None:
        stored = self._directory.load(CHECKPOINT) if self._directory is not None else None
        sent = stored.get("sent") if stored else None
        self._sent = dict.fromkeys(str(each) for each in sent) if isinstance(sent, list) else {}
        found = self._log.read()
        for reported in found:
            event = reported.event
            key = event.session or "", event.kind, about(event.who)
            if _is_more(event.grade, self._known.get(key)):
                self._known[key] = event.grade
            of_kind = event.session or "", event.kind
            self._counts[of_kind] = self._counts.get(of_kind, 0) + 1
        newest = found[-1].event.session if found else None
        for reported in found:
            if reported.event.session == newest:
                self._queue(reported)


def _key(session: str, told: Told) -> Key:
    return session, told.kind, about(told.who)


def _is_more(severity: str, known: str | None) -> bool:
    return known is None or _ORDER.get(severity, 0) > _ORDER.get(known, 0)


def _is_held(told: Told, seen_s: float) -> bool:
    """Return True once a finding lasted for as long as its alert must; what was recorded as it is counts at once."""
    if told.hold_s:
        return seen_s >= told.hold_s
    return told.confidence == "certain" or seen_s > 0
