"""The table of alerts: every row with its limit and reason, its runbook entry and the series that prove it."""

from typing import Final

from deploy.prometheus import (
    alerts_collector,
    alerts_gpu,
    alerts_gradients,
    alerts_memory,
    alerts_run,
    alerts_tamiyo,
    alerts_training,
)
from deploy.prometheus.alert import Alert

ALERTS: Final[tuple[Alert, ...]] = (
    *alerts_gradients.ALERTS,
    *alerts_tamiyo.ALERTS,
    *alerts_training.ALERTS,
    *alerts_run.ALERTS,
    *alerts_memory.ALERTS,
    *alerts_gpu.ALERTS,
    *alerts_collector.ALERTS,
)
