"""Telemetry for reinforcement-learning and other PyTorch training: typed events, an append-only log, OpenTelemetry.

Example::

    import esper_otel
    from esper_otel.events import PolicyUpdate

    esper_otel.configure(telemetry_dir="telemetry")
    esper_otel.emit(PolicyUpdate(policy_loss=0.5))
    esper_otel.shutdown()

or, for the training of a whole process, ``esper_otel.autolog()`` and nothing else.
"""

from esper_otel.automatic.door import autolog
from esper_otel.runtime.recording import recorder
from esper_otel.runtime.telemetry import Telemetry, configure, emit, should_stop, shutdown

__all__ = ["Telemetry", "autolog", "configure", "emit", "recorder", "should_stop", "shutdown"]
__version__ = "0.1.0"
