"""Text of a scrape, made again from that of the one before where only numbers changed.

The client library writes every line the first time, and again when a family has other points. In between its lines are
templates, of which the numbers are replaced: escaping and order stay those of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from esper_otel.relay.metrics.families import AttributeValues, Family, HistogramPoint
from esper_otel.relay.prometheus.exposition import FamilyCollector, to_prometheus

Encoder = Callable[[CollectorRegistry], bytes]
"""The library's function that writes a registry in one format."""

END: Final = "# EOF\n"
"""Last line of OpenMetrics."""

NUMBERS: Final = 65_536
"""Numbers whose texts are remembered: most do not change from scrape to scrape, or are small."""

_text_of: Final = lru_cache(NUMBERS)(floatToGoString)


class Template(msgspec.Struct, frozen=True):
    """Lines of a family without their numbers, in the library's order.

    Attributes:
        points: attribute values that it is of, in order.
        head: the comments before the lines.
        lines: each line up to its number, and the space before it.
    """

    points: list[AttributeValues]
    head: str
    lines: list[str]


class Templates:
    """Templates of one format, by family."""

    def __init__(self, encode: Encoder) -> None:
        """``encode``: the library's encoder of that format."""
        self._encode = encode
        self._found: dict[str, Template] = {}
        self._has_end = self._written([]) == END

    def text(self, collector: FamilyCollector) -> str:
        """All families of ``collector`` in this format."""
        parts = [self._without_end([collector.target_info()])]
        parts += [self._family(family) for family in collector.families()]
        return "".join(parts) + (END if self._has_end else "")

    def _family(self, family: Family) -> str:
        template = self._found.get(family.prometheus_name)
        if self._has_end and family.exemplars:  # they are parts of lines in this format
            return self._without_end([to_prometheus(family)])
        if template is None or template.points != list(family.points):
            text = self._without_end([to_prometheus(family)])
            template = _template_of(text, family)
            if template is not None:
                self._found[family.prometheus_name] = template
            return text
        lines = zip(template.lines, _numbers(family), strict=True)
        return template.head + "".join([f"{line}{_text_of(number)}\n" for line, number in lines])

    def _without_end(self, metrics: list[Metric]) -> str:
        text = self._written(metrics)
        return text.removesuffix(END) if self._has_end else text

    def _written(self, metrics: list[Metric]) -> str:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Given(metrics))
        return self._encode(registry).decode()


class _Given(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _template_of(text: str, family: Family) -> Template | None:
    """The template of what the library wrote, or None where its lines are others than expected."""
    written = [f"{line}\n" for line in text.split("\n")[:-1]]  # a label may hold what splitlines() splits at
    head = [line for line in written if line.startswith("#")]
    lines = [line.rstrip("\n").rpartition(" ") for line in written[len(head) :]]
    numbers = list(_numbers(family))
    if [float(number) for _, _, number in lines] != numbers:
        return None
    return Template(list(family.points), "".join(head), [f"{line} " for line, _, _ in lines])


def _numbers(family: Family) -> Iterator[float]:
    """Numbers of a family in the order of the library's lines."""
    for point in family.points.values():
        if isinstance(point, HistogramPoint):
            yield from accumulate(point.counts)
            if family.has_sum:
                yield from (point.count, point.sum)
        else:
            yield point + 0.0  # not -0.0, whose text would be that of 0.0 or the other way round
