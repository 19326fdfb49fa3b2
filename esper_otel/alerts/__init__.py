"""The table of alerts: every row with its limit and reason, its runbook entry and the series that prove it."""

from typing import Final

from esper_otel.alerts import collector, gpu, gradients, memory, ranks, run, tamiyo, telemetry, training, updates
from esper_otel.alerts.alert import Alert

ALERTS: Final[tuple[Alert, ...]] = (
    *gradients.ALERTS,
    *tamiyo.ALERTS,
    *training.ALERTS,
    *updates.ALERTS,
    *run.ALERTS,
    *ranks.ALERTS,
    *telemetry.ALERTS,
    *memory.ALERTS,
    *gpu.ALERTS,
    *collector.ALERTS,
)
