"""The registry of signals: the OpenTelemetry and Prometheus metrics derived from the events' declarations."""

from esper_otel.signals.registry import SIGNALS, Signal, SignalError

__all__ = ["SIGNALS", "Signal", "SignalError"]
