"""A training process that does what it is told on standard input, one command a line, and answers each."""

from __future__ import annotations

import argparse
import sys
import time

import esper_otel
from esper_otel.events import PolicyUpdate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--world-size", type=int, default=1)
    parser.add_argument("--relay", action="store_true")
    parser.add_argument("--linger", type=float, default=30.0)
    options = parser.parse_args()
    began = time.monotonic()
    telemetry = esper_otel.configure(
        telemetry_dir=options.directory,
        run_id=options.run_id,
        rank=options.rank,
        world_size=options.world_size,
        relay=options.relay,
        linger_s=options.linger,
        heartbeat_s=0.5,
        segment_bytes=20_000,
    )
    print(f"ready {time.monotonic() - began}", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["emit", count]:
                print(f"emitted {emit(telemetry, int(count))}", flush=True)
            case ["end", outcome]:
                esper_otel.shutdown(outcome)
                print("ended 0", flush=True)
                return


def emit(telemetry: esper_otel.Telemetry, count: int) -> float:
    """Emit ``count`` updates and wait until they are on disk; the longest time that one call took, s."""
    longest_s = 0.0
    for number in range(count):
        before = time.monotonic()
        esper_otel.emit(PolicyUpdate(ppo_update_idx=number, pre_clip_grad_norm=1.0))
        longest_s = max(longest_s, time.monotonic() - before)
    emitted = telemetry.counters["emitted"]
    while telemetry.counters["written"] < emitted:
        time.sleep(0.005)
    return longest_s


if __name__ == "__main__":
    main()
