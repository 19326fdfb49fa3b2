"""A writing process that is killed without warning."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader
from tests.killing import due_when_killed

# The child tells over a pipe what it has emitted and when, outside the log under test: "<count> <CLOCK_MONOTONIC>".
CHILD = """
import os, sys, time
from pathlib import Path
from esper_otel.events import Decision
from esper_otel.log.writer import Writer
w = Writer(Path(sys.argv[1]), "r", heartbeat_s=0, segment_bytes=200_000)
n = 0
while True:
    for _ in range(10):
        n += 1
        w.put((Decision(env_id=n, total_reward=0.5), time.time_ns(), "default", None, None))
    os.write(1, b"%d %.6f\\n" % (n, time.monotonic()))
    time.sleep(0.002)
"""


@pytest.mark.parametrize("seed", range(6))
def test_kill_9_at_a_random_time_keeps_every_event_older_than_50_ms(tmp_path: Path, seed: int) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path / "r"], stdout=subprocess.PIPE) as process:
        due = due_when_killed(process, random.Random(seed).uniform(0.1, 0.6))

    with LogReader(tmp_path / "r") as reader:
        found = reader.read(1_000_000)
    kept = [item.seq for item in found if isinstance(item, Record)]
    assert list(range(1, len(kept) + 1)) == kept
    assert len(kept) >= max(due, default=0) > 0
    assert [] == [item for item in found[:-1] if isinstance(item, BadLine)]
