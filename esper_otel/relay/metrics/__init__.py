"""Metric state: counters, histograms and last values, accumulated from the events of a run."""

from esper_otel.relay.metrics.state import MetricState

__all__ = ["MetricState"]
