"""A backend for esper-lite's hub that only passes events on to our log.

The hub gives each backend a queue of 100 events and silently drops what does not fit. So
:meth:`EsperOtelOutput.emit` only puts the event into the log's own buffer (64 MiB); encoding and writing happen on the
log's threads.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from esper_otel.esper_lite.producer.hub_line import HubEvent
from esper_otel.esper_lite.producer.hub_losses import lost_before
from esper_otel.events.run import TelemetryLoss
from esper_otel.runtime import telemetry as runtime

LOOK_EVERY_S: Final = 5.0
"""Interval of queries for the hub's losses, equal to that of the log's heartbeat."""

HUB_QUEUE_FULL: Final = "hub_queue_full"
"""Reason for the hub's own losses."""


class EsperOtelOutput:
    """Writes the hub's events to the event log of a run.

    Example::

        hub = get_hub()
        hub.add_backend(EsperOtelOutput(hub))

    The run is opened at the first event, so that a hub which nobody uses leaves no run behind, and ended when the hub
    closes: as failed or interrupted when an exception is on its way then, else as finished. Nothing here raises.
    """

    def __init__(self, hub: Any = None, open_run: Callable[[], runtime.Telemetry] = runtime.configure) -> None:
        """Create it without opening a run.

        Args:
            hub: the hub, to tell what it dropped itself; without it only the log's own losses are known.
            open_run: opens the run; default :func:`esper_otel.configure` with what the environment says.
        """
        self._hub = weakref.ref(hub) if hub is not None else lambda: None
        self._open_run = open_run
        self._telemetry: runtime.Telemetry | None = None
        self._is_closed = False
        self._failure: BaseException | None = None
        self._told: dict[str, int] = {}
        self._look_at_s = 0.0

    def start(self) -> bool:
        """Called by the hub when the backend is added."""
        self._is_closed = False
        return True

    def emit(self, event: Any) -> None:
        """Record one event. Takes about 1 µs, except for the first one, which opens the run; never raises."""
        telemetry = self._telemetry or self._open()
        if telemetry is None:
            return
        telemetry.put((HubEvent(event), 0, telemetry.group_id, None, None))
        now = time.monotonic()
        if now >= self._look_at_s:
            self._look_at_s = now + LOOK_EVERY_S
            self._tell_hub_losses(telemetry)

    def close(self) -> None:
        """End the run. Waits for the disk for at most 2 s, usually a few ms."""
        telemetry, self._telemetry = self._telemetry, None
        self._is_closed = True
        if telemetry is None:
            return
        self._tell_hub_losses(telemetry)
        outcome, detail = _outcome(self._failure or _exception_on_its_way())
        runtime.shutdown(outcome, detail)

    def note_failure(self, error: BaseException) -> None:
        """Remember the exception that ended the training, since the hub closes without reporting it."""
        self._failure = error

    def _open(self) -> runtime.Telemetry | None:
        if self._is_closed:
            return None
        try:
            self._telemetry = self._open_run()
        except Exception as error:  # a wrong setting must not cost the training; it is reported instead
            self._is_closed = True
            print(f"esper-otel: this run is not recorded: {error}", file=sys.stderr, flush=True)
        return self._telemetry

    def _tell_hub_losses(self, telemetry: runtime.Telemetry) -> None:
        hub = self._hub()
        if hub is None:
            return
        for queue, count in lost_before(hub, type(self).__name__).items():
            new = count - self._told.get(queue, 0)
            if new > 0:
                self._told[queue] = count
                detail = f"esper-lite's hub dropped them: the queue of its {queue} was full"
                loss = TelemetryLoss(reason=HUB_QUEUE_FULL, count=new, detail=detail)
                telemetry.put((loss, telemetry.now_ns(), telemetry.group_id, None, None))


def _exception_on_its_way() -> BaseException | None:
    """The exception that ends the main thread, if the hub closes in one of its ``finally`` blocks."""
    return sys.exc_info()[1] if threading.current_thread() is threading.main_thread() else None


def _outcome(error: BaseException | None) -> tuple[runtime.Outcome, str | None]:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    detail = f"{type(error).__name__}: {error}"[:500]
    return ("interrupted" if isinstance(error, KeyboardInterrupt) else "failed"), detail
