"""A flag of the relay may be set by a signal handler at any moment, also while its own thread waits for it."""

from __future__ import annotations

import subprocess
import sys

from tests.tools import python_environment
from tests.waiting import PATIENCE_S

WAITS_AND_IS_INTERRUPTED = """
import signal
from esper_otel.relay.pacing import Flag
flag, signals = Flag(), 0
def interrupt(*_):
    global signals
    signals += 1
    flag.set()
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
while signals < 5000:
    flag.clear()
    flag.wait(1e-5)
signal.setitimer(signal.ITIMER_REAL, 0)
flag.set()
print(flag.wait(), flag.is_set())
"""


def test_a_signal_handler_sets_the_flag_for_which_its_thread_waits() -> None:
    command = [sys.executable, "-c", WAITS_AND_IS_INTERRUPTED]
    done = subprocess.run(command, env=python_environment(), capture_output=True, text=True, timeout=PATIENCE_S)

    assert (done.stdout, done.stderr) == ("True True\n", "")
