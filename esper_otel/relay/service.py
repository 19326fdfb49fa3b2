"""The relay: one process that follows the log of a run and serves, sends and watches until the run is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.relay.console import say
from esper_otel.relay.lifecycle.ending import Ending
from esper_otel.relay.metrics.families import Family
from esper_otel.relay.options import Options
from esper_otel.relay.pacing import Pacing
from esper_otel.relay.parts import Parts
from esper_otel.relay.pipeline import Account
from esper_otel.relay.prometheus.endpoint import Endpoint, address_from_env
from esper_otel.relay.prometheus.exposition import FamilyCollector
from esper_otel.relay.telemetry_directory import Silence

TICK_S: Final = 0.5

LEAST_S: Final = 1.0
"""Time that a pipeline always has for its end."""

REPORT_S: Final = 10.0
"""Time between two messages about how much of a long log is still to be read."""


class Relay:
    """One relay, from :meth:`run` to its end.

    Attributes:
        ending: what it was told about its end.
    """

    def __init__(self, options: Options) -> None:
        """Open everything that can fail.

        Raises:
            FileNotFoundError: there is no log.
            StateDirectoryBusyError: another relay works on the run.
            ValueError: an environment variable has a bad value.
            OSError: no port is free.
        """
        self._options = options
        self._parts = Parts(options, self._now_ns)
        self._served = self._parts.metrics
        self._endpoint: Endpoint | None = None
        self._pacing = Pacing()
        self.ending = Ending(options, self._pacing.wake)
        self._stop = self.ending.now
        self._ticked_at = 0.0
        self._is_complete = False
        self._is_drained = False
        self._silence = Silence(options)

    @property
    def next_options(self) -> Options | None:
        """Options to follow the run that began after this one; None without any, or when this relay was stopped."""
        return None if self.ending.is_told else self._silence.next_options()

    def run(self) -> int:
        """Work until the run is over and return the exit status."""
        if self._options.follow:
            self._catch_up(self._parts)
            self._announce()
        try:
            self._parts.start()
            self._follow_to_the_end()
            delivered = self._finish()
        finally:
            self._close()
        return 0 if delivered else 3

    # Serving

    def _catch_up(self, parts: Parts) -> None:
        """Read everything that is already there before anything is served: counters never go back after a restart."""
        reader = parts.metrics.reader
        ends, unread = reader.ends(), max(reader.unread_bytes(), 1)
        reported_at = time.monotonic()
        while not self._stop.is_set() and parts.metrics.step() and not reader.has_passed(ends):
            if time.monotonic() - reported_at > REPORT_S:
                reported_at = time.monotonic()
                left = reader.unread_bytes()
                say(f"reading the log, {left / 1e6:.0f} MB of {max(unread, left) / 1e6:.0f} MB left before serving")

    def _announce(self) -> None:
        if self._endpoint is None:
            self._open_endpoint()
        self._parts.presence.announce(self._endpoint, self._parts.exporters)

    def _open_endpoint(self) -> None:
        names = [part.strip() for part in (os.environ.get("OTEL_METRICS_EXPORTER") or "prometheus").split(",")]
        if "prometheus" not in names:
            return
        collector = FamilyCollector(self._collect_now, self._parts.resource.attributes)
        self._endpoint = Endpoint(collector, *address_from_env(), self._parts.subject.run_id)

    def _collect_now(self) -> list[Family]:
        self._pacing.wait_for_step()
        return self._served.collect(self._now_ns())

    def _now_ns(self) -> int:
        return time.time_ns() if self._options.follow else self._parts.metrics.state.last_ns

    # Working

    def _follow_to_the_end(self) -> None:
        """Work, deliver the rest, linger; and all of it again whenever the run is continued."""
        while not self._stop.is_set():
            self._work()
            if not self._options.follow:
                self._announce()  # now that the counters are where they belong
            if self._stop.is_set() or not self._rest():
                return
            say(f"the {'run continues' if self._parts.liveness.is_continued else 'log has more'} and is followed again")
            self._resume()

    def _work(self) -> None:
        while not self._stop.is_set():
            lines = self._step()
            self._tick()
            if self.ending.gives_up(knows_end=self._parts.subject.is_ours, has_more=bool(lines)):
                return
            if lines:
                if not self._options.follow:
                    self._replayed()
            elif (moved := self._parts.moved()) is not None:
                self._move(moved)
            elif not self._options.follow or self._is_over():
                self._is_complete = True
                return
            else:
                self._pacing.pause(self._stop)

    def _step(self) -> int:
        """Project the lines that are there, up to a batch; their number. A scrape that asked for them goes on."""
        begun = self._pacing.begin_step()
        if lines := self._parts.metrics.step():
            self._silence.end()
        self._pacing.end_step(begun)
        return lines

    def _is_over(self) -> bool:
        """Return True if a followed run has ended, or is given up, and all of its log was read."""
        if self._silence.is_enough(has_begun=self._parts.metrics.reader.has_begun):
            return True
        for rank in self._parts.liveness.report_dead(self._seen):
            say(f"the training process of rank {rank} died without ending the run")
        return self._parts.is_over

    def _seen(self, rank: int) -> int:
        """The greatest number of an event of ``rank`` that this relay, or the one before it, has read."""
        directory = self._parts.directory
        stored = directory.greatest_seq(rank) if directory is not None else 0
        return max(stored, self._parts.metrics.greatest_seq(rank))

    def _replayed(self) -> None:
        for pipeline in self._parts.pipelines.values():
            pipeline.replayed(self._parts.metrics.state.last_ns)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._ticked_at < TICK_S:
            return
        self._ticked_at = now
        self._parts.look()
        self._parts.own.refresh()
        self._parts.presence.keep()
        self._silence.look(self._parts.subject)
        directory = self._parts.directory
        if directory is not None and self._options.follow:
            directory.keep()
            if directory.is_lost:
                say("another relay took over the run's state after it was removed; this one exits")
                self.ending.at_once()

    def _move(self, moved: Path) -> None:
        """Follow a run that was renamed to its new directory; it keeps its name here."""
        run_id, place = self._parts.subject.run_id, self._parts.leave()
        if place is not None:
            moved = place.known = place.moved() or moved  # by now it may have been renamed once more
        say(f"the run's directory is {moved} now; it is followed there")
        self._options = msgspec.structs.replace(self._options, run=moved, run_id=run_id, from_start=False)
        parts = Parts(self._options, self._now_ns, place)
        self._catch_up(parts)  # what was scraped until now is scraped until that is done
        self._parts = parts
        if parts.moved() is None:  # renamed once more meanwhile, it may have found nothing where it looked
            self._served = parts.metrics
        self._announce()
        self._parts.start()

    # Ending

    def _rest(self) -> bool:
        """Deliver the rest, then serve for a while; True as soon as the run continues."""
        self._drain()
        if self._wait(self._options.drain_s, until=self._is_delivered):
            return True
        self._parts.own.refresh()  # who scrapes once the end was reported sees what was delivered
        self._record_delivery()
        if self._endpoint is None or not self._options.linger_s or self._is_leaving():
            return False
        reason = "the run is over" if self._parts.is_over else self._silence.in_words()
        say(self.ending.in_words(reason, self._endpoint.url))
        return self._wait(self._options.linger_s, until=self._is_leaving)

    def _is_leaving(self) -> bool:
        is_enough = self._endpoint is not None and self.ending.is_leaving(self._endpoint.is_scraped_since)
        return is_enough or self._silence.next_options() is not None

    def _wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for as long, or ``until`` something is so; True as soon as the run goes on."""
        deadline = time.monotonic() + seconds
        is_enough = False
        while not is_enough and not self._stop.is_set():
            is_enough = time.monotonic() >= deadline or until()  # before the log, which a last finding may end
            if self._options.follow and self._goes_on():
                return True
            self._tick()
            self._pacing.pause(self._stop)
        return False

    def _goes_on(self) -> bool:
        """Return True if after the end lines were appended, the writer's lock was taken, or the run was renamed."""
        if self.ending.is_given_up:
            return False
        is_asked = self._parts.subject.is_ours and self._options.idle_exit_s is None
        has_more = bool(self._step()) or self._parts.moved() is not None
        return has_more or (is_asked and self._parts.liveness.is_continued)

    def _is_delivered(self) -> bool:
        return all(pipeline.is_at_rest for pipeline in self._parts.pipelines.values())

    def _record_delivery(self) -> None:
        required = [pipeline for pipeline in self._parts.pipelines.values() if pipeline.is_required]
        is_complete = all(pipeline.has_delivered for pipeline in required) and not self._refused()
        self._parts.presence.record_delivery(is_complete=is_complete, is_stopped=self.ending.is_told)

    def _drain(self) -> None:
        """Read the log to its end and let all pipelines export the rest."""
        self._is_drained = True
        parts = self._parts
        parts.metrics.finish()
        parts.liveness.close()
        parts.own.refresh()
        self.ending.drained()
        parts.metrics.store()
        self._record_end()
        for pipeline in parts.pipelines.values():
            pipeline.drain(is_over=self._is_complete)

    def _resume(self) -> None:
        """Undo :meth:`_drain`."""
        self._is_complete = self._is_drained = False
        self.ending.resumed()
        self._parts.liveness.reopen()
        self._parts.presence.record_following()
        self._parts.resume()

    def _record_end(self) -> None:
        parts = self._parts
        if parts.follows(0) and parts.liveness.has_ended and (state := parts.liveness.state) is not None:
            parts.presence.record_end(state, parts.metrics.state.last_ns, parts.liveness.session)

    def _finish(self) -> bool:
        """End all pipelines at the same time; returns True if all required data was exported."""
        drain_s = self.ending.delivery_s
        if self._stop.is_set() and not self._is_drained:
            self._drain()
        self._record_end()
        deadline = time.monotonic() + drain_s
        late = [p for p in self._parts.pipelines.values() if not p.finish(max(deadline - time.monotonic(), LEAST_S))]
        within_s = drain_s or (LEAST_S if self._stop.is_set() else self._options.drain_s)
        for destination, has_failed in dict.fromkeys((pipeline.destination, pipeline.has_failed) for pipeline in late):
            happened = "failed; see above" if has_failed else f"did not accept everything within {within_s:g} s"
            say(f"{destination} {happened}; 'esper-otel relay {self._options.run}' delivers the rest")
        lost = self._refused()
        for account in lost:
            say(f"{account.refused} {account.signal} were permanently rejected: {account.last_error}")
        self._record_delivery()
        self._parts.own.refresh()
        return not lost and not any(pipeline.is_required for pipeline in late)

    def _refused(self) -> list[Account]:
        """Signals of which the destination permanently rejected some items."""
        required = [pipeline for pipeline in self._parts.pipelines.values() if pipeline.is_required]
        return [account for pipeline in required for account in pipeline.accounts if account.refused]

    def _close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
        self._parts.close()
