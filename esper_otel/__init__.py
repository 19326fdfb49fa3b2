"""Telemetry for the training of morphogenetic networks: typed events to an append-only log, a relay to OpenTelemetry.

Example::

    import esper_otel
    from esper_otel.events import PolicyUpdate

    esper_otel.configure(telemetry_dir="telemetry")
    esper_otel.emit(PolicyUpdate(policy_loss=0.5))
    esper_otel.shutdown()
"""

from esper_otel.runtime import Telemetry, configure, emit, shutdown

__all__ = ["Telemetry", "configure", "emit", "shutdown"]
__version__ = "0.1.0"
