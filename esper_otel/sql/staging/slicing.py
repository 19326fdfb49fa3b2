"""A long log in slices, which helper processes read at the same time.

What a line means depends on the lines before it in two ways only: whether it repeats an event, and which arm of an A/B
run was trained last. A helper takes the first for not so and the second for unchanged. Where the end of the slice
before shows that this was wrong, which is seldom, the slice is read again with what is known then.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.duplicates import Duplicates
from esper_otel.log.layout import COMPRESSED, FINDINGS_FILE, Series, Source, resolve
from esper_otel.log.opening import open_to_read
from esper_otel.runs.facts import Observed
from esper_otel.sql.staging.slice import Failed, Place, Read, Slice
from esper_otel.sql.staging.workers import Pool

SLICE_BYTES: Final = 16 * 2**20
"""Long beside what a slice costs, 5 ms, and short enough that the helpers end at the same time."""

_CHUNK_BYTES: Final = 64 * 1024
_ANSWER: Final = msgspec.msgpack.Decoder(Read | Failed)
_Asked = tuple[Slice, Future[bytes]]


def can_be_sliced(path: Path) -> bool:
    """True if the logs of a run can be read one after the other: no two of them tell of the same events.

    Raises:
        FileNotFoundError: there is none.
    """
    sources = [source for source in resolve(path) if source.name != FINDINGS_FILE]
    return len(sources) == 1 or all(isinstance(source, Series) for source in sources)


def slices_of(whole: Slice) -> Iterator[Slice]:
    """The slices of all logs of a run; ``whole`` says what they have in common.

    Raises:
        FileNotFoundError: there is no log.
    """
    number = 0
    for source in resolve(Path(whole.path)):
        places = list(_places(source))
        for start, end in zip(places, [*places[1:], None], strict=True):
            number += 1
            yield msgspec.structs.replace(whole, source=source.name, start=start, end=end, name=f"{number:06d}")


def _places(source: Source) -> Iterator[Place]:
    for number in source.numbers():
        yield number, 0
        located = source.locate(number)
        if located is not None and located.path.suffix not in COMPRESSED:
            try:
                yield from ((number, cut) for cut in _cuts(located.path))
            except OSError:  # whoever reads the slice tells why
                continue


def _cuts(path: Path) -> Iterator[int]:
    """Starts of lines, one slice apart."""
    with open_to_read(path) as file:
        at = SLICE_BYTES
        while chunk := os.pread(file.fileno(), _CHUNK_BYTES, at):
            newline = chunk.find(b"\n")
            if newline < 0:
                at += len(chunk)
                continue
            yield at + newline + 1
            at += newline + 1 + SLICE_BYTES


class Slicing:
    """Reads the slices of a run in order, each once and as if those before it had been read.

    Attributes:
        observed: what was found in them.
    """

    def __init__(self, whole: Slice, pool: Pool) -> None:
        """Read the slices of ``whole`` by means of ``pool``."""
        self._pool = pool
        self._todo = deque(slices_of(whole))
        self._asked: deque[_Asked] = deque()
        self._duplicates = Duplicates()
        self._arms: dict[str, str] = {}
        self.observed = Observed({})

    def read(self) -> Iterator[Read]:
        """Yield the findings of each slice.

        Raises:
            OSError: a file cannot be read or written.
            RuntimeError: a helper died.
        """
        while self._todo or self._asked:
            while self._todo and len(self._asked) <= 2 * self._pool.size:
                self._ask(msgspec.structs.replace(self._todo.popleft(), arms=self._arms))
            part, answer = self._asked.popleft()
            found = self._settled(part, _result(answer))
            self._arms = found.arms
            self.observed.join(found.seen)
            yield found

    def _ask(self, part: Slice) -> None:
        self._asked.append((part, self._pool.ask(part)))

    def _settled(self, part: Slice, found: Read) -> Read:
        is_right = found.is_whole and part.arms == self._arms
        if is_right and self._duplicates.goes_on_with(found.begin, found.duplicates):
            return found
        for path in found.files.values():
            Path(path).unlink()
        if not found.is_whole:  # a bad place of the disk, or a log that was changed: its rest is read in one piece
            self._todo = deque(each for each in self._todo if each.source != part.source)
            self._asked = deque(each for each in self._asked if each[0].source != part.source)
        end = part.end if found.is_whole else None
        again = msgspec.structs.replace(part, end=end, arms=self._arms, duplicates=self._duplicates.state)
        found = _result(self._pool.ask(again))
        self._duplicates = Duplicates(found.duplicates)
        return found


def _result(answer: Future[bytes]) -> Read:
    found: Read | Failed = _ANSWER.decode(answer.result())
    if isinstance(found, Failed):
        raise OSError(found.error)
    return found
