"""The OTLP path: families as OpenTelemetry's metric data model, for the official exporters."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from esper_otel.relay.metrics.families import Exemplar, Family, HistogramPoint
from esper_otel.relay.prometheus.exposition import labelled

CUMULATIVE = AggregationTemporality.CUMULATIVE
DELTA = AggregationTemporality.DELTA


def metrics_data(
    families: Iterable[Family],
    *,
    resource: Resource,
    scope: InstrumentationScope,
    start_ns: int,
    time_ns: int,
    is_delta: bool = False,
) -> MetricsData:
    """Everything as one export.

    Args:
        start_ns: Unix time of the run's first event, the start of every total: a restarted relay does not look like a
            counter reset.
        time_ns: Unix time that the values are true at.
        is_delta: whether counters and histograms are what was added since ``start_ns``.
    """
    metrics = [
        Metric(
            name=family.name,
            description=family.description,
            unit=family.unit,
            data=_data(family, start_ns, time_ns, DELTA if is_delta else CUMULATIVE),
        )
        for family in families
    ]
    scope_metrics = ScopeMetrics(scope=scope, metrics=metrics, schema_url="")
    return MetricsData(
        resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope_metrics], schema_url="")]
    )


def _data(family: Family, start_ns: int, time_ns: int, temporality: AggregationTemporality) -> Sum | Gauge | Histogram:
    if family.instrument == "histogram":
        return Histogram(data_points=_histogram_points(family, start_ns, time_ns), aggregation_temporality=temporality)
    points = [
        NumberDataPoint(
            attributes=labelled(family, values), start_time_unix_nano=start_ns, time_unix_nano=time_ns, value=value
        )
        for values, value in family.points.items()
        if not isinstance(value, HistogramPoint)
    ]
    if family.instrument == "gauge":
        return Gauge(data_points=points)
    if family.instrument == "counter":
        return Sum(data_points=points, aggregation_temporality=temporality, is_monotonic=True)
    return Sum(data_points=points, aggregation_temporality=CUMULATIVE, is_monotonic=False)


def _histogram_points(family: Family, start_ns: int, time_ns: int) -> list[HistogramDataPoint]:
    return [
        HistogramDataPoint(
            attributes=labelled(family, values),
            start_time_unix_nano=start_ns,
            time_unix_nano=time_ns,
            count=point.count,
            sum=point.sum if family.has_sum else None,  # type: ignore[arg-type]  # the message's is optional
            bucket_counts=list(point.counts),
            explicit_bounds=list(family.bounds),
            # min and max are unknown: the state keeps buckets alone. Infinities of the right sign would be exported.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
            exemplars=[_exemplar(each) for each in family.exemplars.get(values, {}).values()],
        )
        for values, point in family.points.items()
        if isinstance(point, HistogramPoint)
    ]


def _exemplar(exemplar: Exemplar) -> SdkExemplar:
    return SdkExemplar(
        filtered_attributes={},
        value=exemplar.value,
        time_unix_nano=exemplar.timestamp_ns,
        span_id=exemplar.span_id,
        trace_id=exemplar.trace_id,
    )
