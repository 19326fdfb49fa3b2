"""Conversion of many scrapes to one OpenMetrics text, which needs all samples of a series together.

Scrapes arrive family by family, the text is ordered by series: samples are regrouped in a temporary file, so that
memory does not grow with the length of the run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest

BUFFERED: Final = 16 * 2**20
"""Characters buffered before a write to the temporary file; the buffer takes two to three times as much memory."""

COPY_BYTES: Final = 2**20


class Series(msgspec.Struct):
    """One series, or all series of one histogram, which must be adjacent.

    Attributes:
        names: name and labels of each sample, as the text has them.
        values: the last values.
        heads: ``names`` with the last values.
        waiting: text not yet written to the file.
        chunks: what is in the file, as offset and length.
    """

    names: list[str]
    values: list[float] = []
    heads: list[str] = []
    waiting: list[str] = []
    chunks: list[tuple[int, int]] = []


class FamilyText(msgspec.Struct):
    """A metric family: its HELP and TYPE lines, and its series by the labels of their first sample."""

    header: str
    series: dict[tuple[str, ...], Series] = {}


class TextSpool:
    """Collects scrapes in the order of their times and writes the text at the end. Use it as a context manager."""

    def __init__(self, directory: Path, labels: dict[str, str]) -> None:
        """Create the temporary file in ``directory``; every sample gets ``labels``.

        Raises:
            OSError: nothing can be written there.
        """
        self._labels = labels
        self._families: dict[str, FamilyText] = {}
        self._held = 0
        self._end = 0
        self._file: BinaryIO = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by __exit__
        self.samples = 0

    def __enter__(self) -> TextSpool:
        """Return the spool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary file."""
        self._file.close()

    @property
    def series(self) -> int:
        """Series so far; each bucket of a histogram is one."""
        return sum(len(series.names) for family in self._families.values() for series in family.series.values())

    def add(self, metric: Metric, points: int, time_ms: int) -> None:
        """Add one family as it was at ``time_ms`` (Unix time), with ``points`` labelled points of equal size.

        Raises:
            OSError: the temporary file cannot be written.
        """
        family = self._families.get(metric.name)
        if family is None:
            family = self._families[metric.name] = FamilyText(_text(metric, ())[0])
        size = len(metric.samples) // points
        stamp = f" {time_ms // 1000}.{time_ms % 1000:03d}\n"
        for start in range(0, len(metric.samples), size):
            samples = metric.samples[start : start + size]
            key = tuple(samples[0].labels.values())
            series = family.series.get(key)
            if series is None:
                series = family.series[key] = Series(self._names(metric, samples))
            self._hold(series, [sample.value for sample in samples], stamp)
        if self._held > BUFFERED:
            self._flush()

    def write(self, out: BinaryIO) -> None:
        """Write the whole text.

        Raises:
            OSError: ``out`` or the temporary file cannot be written.
        """
        self._flush()
        for family in self._families.values():
            out.write(family.header.encode())
            for series in family.series.values():
                for offset, length in series.chunks:
                    self._copy(offset, length, out)
        out.write(b"# EOF\n")

    def _hold(self, series: Series, values: list[float], stamp: str) -> None:
        if values != series.values:
            series.values = values
            series.heads = [f"{name} {float(value)!r}" for name, value in zip(series.names, values, strict=True)]
        text = stamp.join(series.heads) + stamp
        series.waiting.append(text)
        self._held += len(text)
        self.samples += len(values)

    def _flush(self) -> None:
        self._file.seek(self._end)
        for family in self._families.values():
            for series in family.series.values():
                if series.waiting:
                    length = self._file.write("".join(series.waiting).encode())
                    series.chunks.append((self._end, length))
                    series.waiting.clear()
                    self._end += length
        self._held = 0

    def _copy(self, offset: int, length: int, out: BinaryIO) -> None:
        self._file.seek(offset)
        while length > 0:
            part = self._file.read(min(length, COPY_BYTES))
            out.write(part)
            length -= len(part)

    def _names(self, metric: Metric, samples: Iterable[Any]) -> list[str]:
        """Names and labels of each sample as the client library writes them; empty labels are dropped."""
        labelled = [
            sample._replace(labels=_filled(sample.labels) | self._labels, value=0, exemplar=None) for sample in samples
        ]
        _, lines = _text(metric, labelled)
        return [line.rpartition(" ")[0] for line in lines]


def _filled(labels: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in labels.items() if text}


class _One:
    """Collector for the client library: a registry with one family."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]


def _text(metric: Metric, samples: Iterable[Any]) -> tuple[str, list[str]]:
    """HELP and TYPE of a family, and one line for each of ``samples``."""
    family = Metric(metric.name, metric.documentation, metric.type)
    family.samples = list(samples)
    lines = generate_latest(_One(family)).decode().split("\n")  # type: ignore[no-untyped-call]
    return f"{lines[0]}\n{lines[1]}\n", lines[2:-2]
