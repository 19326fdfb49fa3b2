"""One line for the user of a command: the directory of the run, where its metrics are, and what draws it."""

from __future__ import annotations

import os
import shlex
import threading
import time
from pathlib import Path
from typing import Final

from esper_otel.runtime.endings import before_end
from esper_otel.runtime.launch import RELAY_PACKAGES
from esper_otel.runtime.run import Telemetry
from esper_otel.runtime.watch import following_relay, relay_entry
from esper_otel.text.extras import first_missing, install
from esper_otel.text.terminal import printable, write_line_within

ANNOUNCE: Final = "ESPER_OTEL_ANNOUNCE"
"""Variable that ``esper-otel run`` sets: a command prints where its output is, a library prints nothing."""

LONGEST_WAIT_S: Final = 15.0
"""Time for the relay to open its endpoint; a second is usual."""

_REPORT_PACKAGES: Final = ("typer", "duckdb", "jinja2", "plotly")
_LOOK_EVERY_S: Final = 0.1
_WRITE_S: Final = 0.5


def announce(telemetry: Telemetry) -> None:
    """Print the line once the relay serves metrics; where none does, after a while or when the run ends.

    Print none of a run that this process does not record: another one's may be there under the same name.
    """
    is_first = telemetry.relay_pid is not None or telemetry.rank == 0
    if os.environ.get(ANNOUNCE) == "1" and telemetry.is_recording and is_first:
        _Line(telemetry)


def drawn_by(run_dir: Path) -> str:
    """The command that draws the run, after the one that installs all that is missing for metrics and charts."""
    command = f"Draw it: esper-otel report {shlex.quote(str(run_dir))}"
    if first_missing(_REPORT_PACKAGES) is None:
        return command
    extras = "report" if first_missing(RELAY_PACKAGES) is None else "relay,report"
    return f"{command}, after {install(extras)}"


class _Line:
    """The line of one run, printed once."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._process = os.getpid()
        self._is_printed = threading.Lock()
        self._take_back = before_end(self._print)
        try:
            threading.Thread(target=self._wait, name="esper-otel-announce", daemon=True).start()
        except RuntimeError:  # no thread can be started: it is printed when the run ends
            return

    def _wait(self) -> None:
        deadline = time.monotonic() + LONGEST_WAIT_S
        while self._telemetry.relay_pid is not None and self._url() is None and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        self._print()

    def _print(self) -> None:
        if os.getpid() != self._process or not self._is_printed.acquire(blocking=False):
            return
        self._take_back()
        url = self._url()
        metrics = f", its metrics at {url}" if url else ""
        where = f"this run is in {self._telemetry.run_dir}{metrics}"
        write_line_within(printable(f"esper-otel: {where}. {drawn_by(self._telemetry.run_dir)}"), _WRITE_S)

    def _url(self) -> str | None:
        """Address of the metrics: of the relay of an earlier process, where that one goes on with the run."""
        run_dir, pid = self._telemetry.run_dir, self._telemetry.relay_pid
        if pid is None:
            return None
        following = following_relay(run_dir)
        url = relay_entry(run_dir, following.pid if following is not None else pid).get("prometheus_url")
        return url if isinstance(url, str) else None
