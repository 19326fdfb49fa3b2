"""Sensors in the training process: they measure without waiting for the device and without raising.

Importing this package imports torch; the rest of the layer does without it.
"""

from esper_otel.sensors.allocator import AllocatorSensor
from esper_otel.sensors.amp import ScalerSensor
from esper_otel.sensors.compiler import CompilerReading, CompilerSensor
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.gradients import GradientSensor
from esper_otel.sensors.monitor import TrainingMonitor
from esper_otel.sensors.snapshot import resident_bytes, snapshot
from esper_otel.sensors.timing import PhaseSummary, PhaseTimer, summarise
from esper_otel.sensors.utilization import UtilizationProbe

__all__ = [
    "AllocatorSensor",
    "CompilerReading",
    "CompilerSensor",
    "Faults",
    "GradientSensor",
    "PhaseSummary",
    "PhaseTimer",
    "ScalerSensor",
    "TrainingMonitor",
    "UtilizationProbe",
    "resident_bytes",
    "snapshot",
    "summarise",
]
