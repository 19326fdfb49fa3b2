"""Passes over data loaders: an epoch is a full one in which the program trains, an evaluation one in which it does not.

A pass counts when its loader was asked for the first batch and said that there are no more: one that the program
leaves early is neither. That nothing was learnt does not make an evaluation: gradients must be off, or a model that is
trained be in evaluation mode, whenever a batch is asked for.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from esper_otel.events import LoaderPass
from esper_otel.events.vocabulary import PASS_EPOCH, PASS_EVALUATION

MOST_WAITING: Final = 64
"""Passes that wait for a report; of more, the oldest are left out."""


class _Pass:
    """A pass that is under way."""

    def __init__(self, updates: int) -> None:
        self.began_s = time.perf_counter()
        self.updates_before = updates
        self.batches = 0
        self.samples: int | None = None
        self.is_evaluation = True


class _Ended:
    """An epoch whose loader has no more batches; the last one may still be on its way to the optimizer."""

    def __init__(self, one: _Pass, updates: int) -> None:
        self.one = one
        self.updates = updates
        self.more = -(-updates // one.batches)  # those of one batch, whether the last one's are among them or not
        self.note_time()

    def note_time(self) -> None:
        self.ended_ns = time.time_ns()
        self.duration_ms = 1e3 * (time.perf_counter() - self.one.began_s)


class Passes:
    """Follows the iterators of all loaders."""

    def __init__(self, updates: Callable[[], int], evaluates: Callable[[], bool]) -> None:
        """``updates`` returns the number of updates so far, ``evaluates`` whether nothing can be learnt right now."""
        self._updates = updates
        self._evaluates = evaluates
        self._open: weakref.WeakKeyDictionary[Any, _Pass] = weakref.WeakKeyDictionary()
        self._ended: _Ended | None = None
        self._done: deque[tuple[LoaderPass, int]] = deque(maxlen=MOST_WAITING)
        self._epochs = self._evaluations = 0

    def asked(self, iterator: Any) -> None:
        """A loader is asked for a batch; torch counts those that an iterator gave, from 0 when it begins anew."""
        self._finish_epoch()
        if iterator._num_yielded == 0:
            self._open[iterator] = _Pass(self._updates())
        one = self._open.get(iterator)
        if one is not None:
            one.is_evaluation = one.is_evaluation and self._evaluates()

    def given(self, iterator: Any, size: int | None) -> None:
        """It gave one with ``size`` samples."""
        one = self._open.get(iterator)
        if one is not None:
            one.batches += 1
            if size is not None:
                one.samples = (one.samples or 0) + size

    def exhausted(self, iterator: Any) -> None:
        """It has no more."""
        one = self._open.pop(iterator, None)
        if one is None or not one.batches:
            return
        updates = self._updates() - one.updates_before
        ended = _Ended(one, updates)
        if updates:
            self._ended = ended
        elif one.is_evaluation:
            self._evaluations += 1
            self._note(PASS_EVALUATION, self._evaluations, ended)

    def updated(self) -> None:
        """An update was made. Wrapped loaders are a batch ahead: those of the last batch come after the end."""
        if self._ended is not None:
            self._ended.updates += 1
            self._ended.more -= 1
            self._ended.note_time()
            if not self._ended.more:
                self._finish_epoch()

    def take(self, *, is_last: bool = False) -> list[tuple[LoaderPass, int]]:
        """The passes since the last call, each with the Unix time of its end; ``is_last``: nothing more will come."""
        if is_last:
            self._finish_epoch()
        done = list(self._done)
        self._done.clear()
        return done

    def _finish_epoch(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._epochs += 1
            self._note(PASS_EPOCH, self._epochs, ended)

    def _note(self, kind: str, number: int, ended: _Ended) -> None:
        event = LoaderPass(
            kind=kind,
            number=number,
            batches=ended.one.batches,
            samples=ended.one.samples,
            updates=ended.updates,
            duration_ms=ended.duration_ms,
        )
        self._done.append((event, ended.ended_ns))
