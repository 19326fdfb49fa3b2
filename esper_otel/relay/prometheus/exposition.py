"""The scrape path: families as Prometheus text, by the official client library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ClientExemplar
from prometheus_client.utils import floatToGoString

from esper_otel.relay.metrics.families import AttributeValues, Exemplar, Family, HistogramPoint
from esper_otel.signals.names import prometheus_label, resource_labels

Bucket = tuple[str, float] | tuple[str, float, ClientExemplar]
"""Upper bound, cumulative count and, where there is one, an exemplar."""


class FamilyCollector(Collector):
    """Passes the families of a relay, and ``target_info`` with its resource, to a Prometheus registry."""

    def __init__(self, collect: Callable[[], list[Family]], resource: Mapping[str, object]) -> None:
        """``collect`` gives the families at each scrape; ``resource`` are the resource attributes by name."""
        self._collect = collect
        self._resource = resource_labels(resource)

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: the existing families depend on the run."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One Prometheus family for each of ours."""
        yield self.target_info()
        for family in self.families():
            yield to_prometheus(family)

    def families(self) -> list[Family]:
        """The families as they are now."""
        return self._collect()

    def target_info(self) -> Metric:
        """The family ``target_info``."""
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
            buckets = _cumulative(family.bounds, point, family.exemplars.get(values, {}))
            # Without a sum the library leaves out the count as well, as OpenMetrics wants it: +Inf's bucket has it.
            metric.add_metric(list(values), buckets, point.sum if family.has_sum else None)
    return metric


def _cumulative(bounds: tuple[float, ...], point: HistogramPoint, exemplars: dict[int, Exemplar]) -> list[Bucket]:
    buckets: list[Bucket] = []
    below = 0
    for index, (bound, count) in enumerate(zip((*bounds, float("inf")), point.counts, strict=True)):
        below += count
        if index in exemplars:
            buckets.append((_le(bound), float(below), _exemplar(exemplars[index])))
        else:
            buckets.append((_le(bound), float(below)))
    return buckets


def _exemplar(exemplar: Exemplar) -> ClientExemplar:
    """The exemplar under the labels that Grafana looks for. The text format has no place for it."""
    labels = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    return ClientExemplar(labels, exemplar.value, exemplar.timestamp_ns / 1e9)


def _le(bound: float) -> str:
    """The label of a bucket, as the client library prints floats."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


def labelled(family: Family, values: AttributeValues) -> dict[str, str]:
    """Attributes of one point as a mapping; absent ones are left out."""
    return {name: value for name, value in zip(family.attributes, values, strict=True) if value}
