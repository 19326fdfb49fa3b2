"""The pace of a real training for programs of a second: each update takes ``PACE_S`` longer.

The second one waits for the file ``GATE``, which is there once the run is scraped. Programs and telemetry know nothing
of it. Without it a run would be over before it is scraped twice.
"""

import os
import time
from pathlib import Path

import wrapt

PACE_S = float(os.environ.get("PACE_S", "0"))
LONGEST_S = 600.0


def slow_down(module):
    gate, count, until = Path(os.environ["GATE"]), 0, time.monotonic() + LONGEST_S

    def updated(*_):
        nonlocal count
        count += 1
        time.sleep(PACE_S)
        while count == 2 and not gate.exists() and time.monotonic() < until:
            time.sleep(0.1)

    module.register_optimizer_step_post_hook(updated)


if PACE_S:
    wrapt.register_post_import_hook(slow_down, "torch.optim.optimizer")
