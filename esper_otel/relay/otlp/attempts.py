"""Delivery of one signal through an official OTLP exporter, so that the relay never hangs and never loses count.

The official exporters answer success or failure and say the reason only in their log; they wait up to their timeout
(10 s by default) inside one call and cannot be interrupted. This wrapper adds what a relay needs: a call that returns
when told to, the reason of a failure, and the difference between "not now" and "never".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Final, Protocol

import msgspec
from opentelemetry.sdk.metrics.export import MetricsData

from esper_otel.relay.otlp.http import NotNow
from esper_otel.text.redaction import redacted_text

REFUSED_HTTP: Final = frozenset({400, 413, 422})
"""Answers that the same bytes would get again; 401, 403 and 404 are cured by configuration and are tried again."""

REFUSED_GRPC: Final = frozenset({"INVALID_ARGUMENT"})

NOT_TAKEN_HTTP: Final = (" 404", " 405", " 501")
NOT_TAKEN_GRPC: Final = "UNIMPLEMENTED"
"""How a receiver answers that knows other signals only."""

MAX_MESSAGE_HINT: Final = "larger than max"
"""How gRPC says that a message is too big for the receiver, under a code that otherwise means "later"."""


class OfficialExporter(Protocol):
    """Common interface of the exporters of opentelemetry-exporter-otlp."""

    def export(self, batch: Any) -> Any:
        """Send one batch; blocks up to the exporter's timeout."""

    def shutdown(self) -> None:
        """Cancel waiting between attempts and close the connection."""


class Failure(msgspec.Struct, frozen=True):
    """Reason why one attempt failed, and whether it is permanent."""

    reason: str
    refused: bool
    retry_after_s: float = 0.0


class AttemptLog:
    """Replaces the exporter's own metrics and keeps the outcome of the last attempt.

    It is the only structured report of errors that the HTTP and the gRPC exporters have in common.
    """

    def __init__(self) -> None:
        """Start with no outcome."""
        self.started = False
        self.error: Exception | None = None
        self.error_attrs: dict[str, Any] | None = None

    def clear(self) -> None:
        """Forget the last attempt: an exporter that cannot encode a batch may never report an attempt."""
        self.started, self.error, self.error_attrs = False, None, None

    @contextmanager
    def export_operation(self, num_items: int) -> Iterator[AttemptLog]:
        """Record one attempt over ``num_items`` items; the exporter sets ``error`` and ``error_attrs``."""
        self.clear()
        self.started = True
        yield self

    def failure(self) -> Failure:
        """The outcome of the last attempt, given that it failed."""
        if isinstance(self.error, NotNow):
            return Failure(str(self.error), refused=False, retry_after_s=self.error.retry_after_s)
        status = next(iter((self.error_attrs or {}).values()), None)
        if isinstance(status, int):
            return Failure(f"HTTP status {status}", status in REFUSED_HTTP)
        if isinstance(status, str):
            return _grpc_failure(status, self.error)
        if self.error is None:
            return Failure("broken off", refused=False) if self.started else Failure("not encodable", refused=True)
        # An error without an answer is a connection error, or the batch could not be encoded or is too large.
        refused = not isinstance(self.error, OSError)
        return Failure(f"{type(self.error).__name__}: {self.error}", refused)


class SignalExporter:
    """Exports batches of one signal. ``export`` may be called by one thread at a time, ``stop`` by any.

    Attributes:
        signal: ``traces``, ``metrics`` or ``logs``.
        endpoint: where it sends, for messages.
        exported: items that the receiver accepted.
        failed: items of attempts that did not succeed; the same item counts once per attempt.
        refused: items that the receiver will never accept (or said it dropped); they are gone.
        last_error: the last failure in words, empty while there was none.
        retry_after_s: time that the receiver asked to be left alone at the last attempt, in s; 0 where it did not.
        exporter: the official exporter (its metric preferences are read by the metrics pipeline).
    """

    def __init__(self, signal: str, endpoint: str, exporter: OfficialExporter, hint: str = "") -> None:
        """Wrap ``exporter``; ``hint`` is added to connection errors."""
        self.signal = signal
        self.endpoint = endpoint
        self.exported = 0
        self.failed = 0
        self.refused = 0
        self.last_error = ""
        self.retry_after_s = 0.0
        self.exporter = exporter
        self._hint = hint
        self._items = 0
        self._attempt = AttemptLog()
        exporter._metrics = self._attempt  # type: ignore[attr-defined]  # see AttemptLog
        self._stopped = threading.Event()
        self._in_flight: _Call | None = None
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def export(self, batch: Sequence[Any] | MetricsData, timeout_s: float | None = None) -> bool:
        """Try to deliver ``batch`` once; True if nothing is left to do for it.

        That is: accepted, or permanently rejected and counted in ``refused`` (a list is halved until only items that
        the receiver cannot take are refused). False means "try the same batch again later". Returns within
        ``timeout_s`` (None: the exporter's own timeout) or at once after :meth:`stop`; never raises. A call that timed
        out goes on in the background, and trying the same batch object again takes up its result.
        """
        call = self._in_flight
        if call is None or (call.done.is_set() and call.batch is not batch):
            call = self._in_flight = self._start(batch)
        if not call.wait(timeout_s, self._stopped):
            self.last_error = f"{self.endpoint}: no response yet"
            return False
        self._in_flight = None
        if call.batch is not batch:
            return self.export(batch, timeout_s)
        return call.delivered

    def stop(self) -> None:
        """Make a running and every later ``export`` return False at once and close the connection."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._calls.put(None)
            self.exporter.shutdown()

    def probe(self) -> str:
        """Send an empty request and return the error, or "" on success. Blocks up to the exporter's own timeout."""
        failure = self._attempt_once(MetricsData([]) if self.signal == "metrics" else [])
        return "" if failure is None else f"{failure.reason}{'' if failure.refused else self._hint}"

    def partial_success(self, rejected: int, message: str) -> None:
        """Note that the receiver accepted a batch but dropped ``rejected`` items of it, or says so of more or fewer."""
        rejected = min(max(rejected, 0), self._items)
        self.exported -= rejected
        self.refused += rejected
        self.last_error = f"{self.endpoint}: dropped {rejected} items: {message}"

    def _start(self, batch: Sequence[Any] | MetricsData) -> _Call:
        call = _Call(batch)
        if self._stopped.is_set():
            return call

        if self._thread is None:
            # A daemon: a receiver that hangs must not keep the relay from ending.
            self._thread = threading.Thread(target=self._work, name=f"esper-otlp-{self.signal}", daemon=True)
            self._thread.start()
        self._calls.put(call)
        return call

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.delivered = self._deliver(call.batch)
            except Exception as error:  # a thread that ended would leave every later batch waiting
                self.last_error = f"{self.endpoint}: {type(error).__name__}"
            finally:
                call.done.set()

    def _deliver(self, batch: Sequence[Any] | MetricsData) -> bool:
        items = self._items = _item_count(batch)
        self.retry_after_s = 0.0
        if items == 0:
            return True
        failure = self._attempt_once(batch)
        if failure is None:
            self.exported += items
            return True
        self.failed += items
        self.retry_after_s = failure.retry_after_s
        reason = redacted_text(failure.reason)  # libraries put headers and whole addresses into their messages
        self.last_error = f"{self.endpoint}: {reason}{'' if failure.refused else self._hint_for(reason)}"
        if not failure.refused:
            return False
        if isinstance(batch, MetricsData) or items == 1:
            self.refused += items
            return True
        middle = items // 2
        return self._deliver(batch[:middle]) and self._deliver(batch[middle:])

    def _hint_for(self, reason: str) -> str:
        if reason.endswith(NOT_TAKEN_HTTP) or NOT_TAKEN_GRPC in reason:
            return f" (it takes no {self.signal} there; OTEL_{self.signal.upper()}_EXPORTER=none turns them off)"
        return self._hint

    def _attempt_once(self, batch: Sequence[Any] | MetricsData) -> Failure | None:
        self._attempt.clear()
        try:
            result = self.exporter.export(batch)
        except Exception as error:  # the relay's one boundary to the exporters: reported, not hidden
            return Failure(f"{type(error).__name__}: {error}", refused=True)
        return None if result.name == "SUCCESS" else self._attempt.failure()


class _Call:
    """One export on its way in the thread of its exporter."""

    def __init__(self, batch: Sequence[Any] | MetricsData) -> None:
        self.batch = batch
        self.done = threading.Event()
        self.delivered = False

    def wait(self, timeout_s: float | None, stopped: threading.Event) -> bool:
        """Wait until done (True), until ``timeout_s`` has passed or ``stopped`` is set (False)."""
        left_s = timeout_s
        while not stopped.is_set():
            step_s = WAIT_STEP_S if left_s is None else min(WAIT_STEP_S, left_s)
            if self.done.wait(step_s):
                return True
            left_s = None if left_s is None else left_s - step_s
            if left_s is not None and left_s <= 0:
                return False
        return self.done.is_set()


WAIT_STEP_S: Final = 0.05
"""Time within which a waiting ``export`` notices ``stop``, in s."""


def _item_count(batch: Sequence[Any] | MetricsData) -> int:
    if isinstance(batch, MetricsData):
        return sum(
            len(metric.data.data_points)
            for resource in batch.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
    return len(batch)


def _grpc_failure(status: str, error: Exception | None) -> Failure:
    details = getattr(error, "details", None)
    text = str(details()) if callable(details) else str(error)
    too_large = status == "RESOURCE_EXHAUSTED" and MAX_MESSAGE_HINT in text
    return Failure(f"gRPC status {status}: {text}", status in REFUSED_GRPC or too_large)
