"""Measures one way of recording in a process of its own; the cells as JSON on standard output.

Started by :mod:`benchmarks.slowdown`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.alternatives.blocks import Blocks, Cell, mean
from benchmarks.alternatives.payloads import PAYLOADS, Payload
from benchmarks.alternatives.step import training_step
from benchmarks.alternatives.way import UnavailableError, Way
from benchmarks.alternatives.ways import HIGHEST_RATE_ALONE, WAYS

RATES = (100, 1_000, 10_000)
SETTLED_S = 0.05
IDLE_PAYLOAD = "none"
PLAIN_RATIO = 2.0
"""A way that slows down as much needs no more than :data:`PLAIN_QUADS` to show it."""

PLAIN_QUADS = 2


class Result(msgspec.Struct):
    """Report of a worker: its cells, or the reason why there are none; ``step_s`` is the undisturbed step."""

    cells: list[Cell]
    step_s: float = 0.0
    unavailable: str = ""


class Measurement:
    """One way in this process."""

    def __init__(self, name: str, endpoint: str, directory: Path, quads: int) -> None:
        """Make the training step; ``quads`` A B B A for each cell."""
        self._name = name
        self._endpoint = endpoint
        self._directory = directory
        self._quads = quads
        self._numbers = itertools.count()
        self._way: Way = WAYS[name]()
        step, self.step_s = training_step()
        self._blocks = Blocks(step, self.step_s)
        for _ in range(3):
            self._blocks.without()

    def idle(self) -> Cell:
        """Cost of being open without a single event, against not being open."""
        cell = Cell(self._name, IDLE_PAYLOAD, 0)
        for _ in range(max(self._quads // 3, 1)):
            first = self._blocks.without()
            self._open()
            time.sleep(SETTLED_S)
            middle = [self._blocks.with_it(None, 0)[0] for _ in range(2)]
            self._way.close()
            time.sleep(SETTLED_S)
            _add(cell, (first, *middle, self._blocks.without()))
        return cell

    def cells(self, payload: Payload, rates: tuple[int, ...]) -> list[Cell]:
        """A payload at every rate."""
        self._open()
        record, pool = self._way.recorder(payload), itertools.cycle(payload.pool)
        found = []
        for rate in rates:
            cell = Cell(self._name, payload.name, rate)
            lost = self._way.lost()
            for _ in range(self._quads):
                first = self._blocks.without()
                middle, counts = zip(*[self._recorded(lambda: record(next(pool)), rate) for _ in range(2)], strict=True)
                _add(cell, (first, *middle, self._blocks.without()))
                cell.events += sum(counts)
                if len(cell.quads) >= PLAIN_QUADS and all(_ratio(quad) > PLAIN_RATIO for quad in cell.quads):
                    break
            cell.lost = self._way.lost() - lost
            found.append(cell)
        self._way.close()
        return found

    def _recorded(self, record: Callable[[], object], rate: int) -> tuple[list[float], int]:
        block = self._blocks.with_it(record, rate)
        self._way.settle()
        time.sleep(SETTLED_S)
        return block

    def _open(self) -> None:
        directory = self._directory / str(next(self._numbers))
        directory.mkdir()
        self._way.open(directory, self._endpoint)


def _ratio(quad: tuple[float, float, float, float]) -> float:
    return (quad[1] + quad[2]) / (quad[0] + quad[3])


def _add(cell: Cell, blocks: Sequence[list[float]]) -> None:
    first, *middle, last = blocks
    cell.quads.append((mean(first), mean(middle[0]), mean(middle[1]), mean(last)))
    cell.without += first + last
    cell.with_it += middle[0] + middle[1]


def main() -> None:
    """Run the measurement given by the arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("endpoint")
    parser.add_argument("--quads", type=int, required=True)
    arguments = parser.parse_args()
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the ways themselves print goes elsewhere
    with tempfile.TemporaryDirectory() as directory:
        try:
            measurement = Measurement(arguments.way, arguments.endpoint, Path(directory), arguments.quads)
            cells = [measurement.idle()]
            for payload in PAYLOADS.values():
                cells += measurement.cells(payload(), RATES[-1:] if arguments.way in HIGHEST_RATE_ALONE else RATES)
            result = Result(cells, measurement.step_s)
        except UnavailableError as error:
            result = Result([], unavailable=str(error))
        answer.write(msgspec.json.encode(result))
        answer.close()
    sys.stderr.flush()
    os._exit(0)  # some of the ways wait for minutes at exit


if __name__ == "__main__":
    main()
