"""A trainer that asks should_stop() after every update, and obeys."""

import sys
import time

import esper_otel
from esper_otel.events import PolicyUpdate

esper_otel.configure(telemetry_dir=sys.argv[1], run_id="run", linger_s=0.0)
began = time.monotonic()
number = 0
while not esper_otel.should_stop() and time.monotonic() - began < 600:
    number += 1
    esper_otel.emit(PolicyUpdate(batch=number, ppo_update_idx=1, pre_clip_grad_norm=500.0 if number == 20 else 1.0))
    time.sleep(0.05)
print("stopped" if esper_otel.should_stop() else "never stopped", flush=True)
esper_otel.shutdown("interrupted", "a critical finding")
