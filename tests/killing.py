"""Kills of a process that reports what it has done: what must be kept then."""

from __future__ import annotations

import subprocess
import time

PROMISED_S = 0.05
SCHEDULING_S = 0.05
"""Slack for a machine whose cores are busy; the promise itself is for a core that is free."""


def due_when_killed(process: subprocess.Popen[bytes], after_s: float, *, slack_s: float = SCHEDULING_S) -> list[int]:
    """Kill ``process`` ``after_s`` its first report; the counts of its reports that are older than the promise.

    A report is a line of its output: a count and the monotonic time, s.
    """
    assert process.stdout is not None
    reports = [process.stdout.readline()]
    time.sleep(after_s)
    process.kill()
    killed_at = time.monotonic()
    reports += process.stdout.readlines()
    whole = [line.split() for line in reports if line.endswith(b"\n")]
    return [int(count) for count, at in whole if float(at) < killed_at - PROMISED_S - slack_s]
