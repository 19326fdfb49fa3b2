"""Telemetry of the training process: settings, run directory, relay process, public functions."""

from esper_otel.runtime.telemetry import Telemetry, configure, emit, shutdown

__all__ = ["Telemetry", "configure", "emit", "shutdown"]
