"""The registry of signals: what the events' declarations become in OpenTelemetry and Prometheus."""

from esper_otel.signals.registry import SIGNALS, Signal, SignalError

__all__ = ["SIGNALS", "Signal", "SignalError"]
