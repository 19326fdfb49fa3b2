"""The scrape path: families as Prometheus text, by the official client library."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from esper_otel.relay.families import AttributeValues, Family, HistogramPoint
from esper_otel.signals.names import prometheus_label


class FamilyCollector(Collector):
    """Hands the families of a relay, and ``target_info`` with its resource, to a Prometheus registry."""

    def __init__(self, collect: Callable[[], list[Family]], resource: dict[str, str]) -> None:
        """``collect`` gives the families at each scrape; ``resource`` are the resource attributes by name."""
        self._collect = collect
        self._resource = {prometheus_label(name): value for name, value in resource.items()}

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised: which families exist depends on the run."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One Prometheus family for each of ours."""
        yield self._target_info()
        for family in self._collect():
            yield to_prometheus(family)

    def _target_info(self) -> Metric:
        # A plain gauge and not the client's Info: the text format of Prometheus has no info type.
        info = GaugeMetricFamily("target_info", "Resource attributes of the run.", labels=list(self._resource))
        info.add_metric(list(self._resource.values()), 1.0)
        return info


def registry_of(collector: FamilyCollector) -> CollectorRegistry:
    """A registry that holds the collector alone."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


def to_prometheus(family: Family) -> Metric:
    """Translate one family; names come from the registry of signals, not from a rule applied here."""
    labels = [prometheus_label(name) for name in family.attributes]
    if family.instrument == "histogram":
        return _histogram(family, labels)
    kind = CounterMetricFamily if family.instrument == "counter" else GaugeMetricFamily
    metric = kind(family.prometheus_name, family.description, labels=labels)
    for values, value in family.points.items():
        if not isinstance(value, HistogramPoint):
            metric.add_metric(list(values), value)
    return metric


def _histogram(family: Family, labels: list[str]) -> Metric:
    metric = HistogramMetricFamily(family.prometheus_name, family.description, labels=labels)
    for values, point in family.points.items():
        if isinstance(point, HistogramPoint):
            metric.add_metric(list(values), _cumulative(family.bounds, point), point.sum)
    return metric


def _cumulative(bounds: tuple[float, ...], point: HistogramPoint) -> list[tuple[str, float]]:
    buckets, below = [], 0
    for bound, count in zip((*bounds, float("inf")), point.counts, strict=True):
        below += count
        buckets.append((_le(bound), float(below)))
    return buckets


def _le(bound: float) -> str:
    """The label of a bucket, as the client library prints floats."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


def labelled(family: Family, values: AttributeValues) -> dict[str, str]:
    """Attributes of one point as a mapping; absent ones are left out."""
    return {name: value for name, value in zip(family.attributes, values, strict=True) if value}
