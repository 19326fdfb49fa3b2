"""A run backfilled by the command, imported by promtool, and asked for in a Prometheus that never scraped it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.tools import python_environment, tool
from tests.waiting import PATIENCE_S

SAID = re.compile(r"(\d+) samples of (\d+) series in (\d+) scrapes from (\S+ \S+) to (\S+ \S+)\n")


class Written(msgspec.Struct, frozen=True):
    """What ``esper-otel backfill`` left and said; times are Unix s."""

    path: Path
    text: str
    samples: int
    scrapes: int
    first_s: float
    last_s: float


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``esper-otel backfill``."""
    return subprocess.run(
        [sys.executable, "-c", "from esper_otel.cli import main; main()", "backfill", *arguments],
        env=python_environment(**environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def written(run: Path, out: Path, *options: str, **environment: str) -> Written:
    """Backfill ``run`` into ``out``."""
    ended = command(str(run), "-o", str(out), *options, **environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    said = SAID.search(ended.stdout)
    assert said is not None, ended.stdout
    first, last = (datetime.fromisoformat(text).timestamp() for text in said.groups()[3:])
    return Written(out, out.read_text(), int(said[1]), int(said[3]), first, last)


@contextmanager
def imported(backfill: Written, directory: Path) -> Iterator[Prometheus]:
    """A server on the blocks that promtool makes of it."""
    subprocess.run(
        [tool("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(backfill.path), str(directory / "data")],
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    with prometheus_on(directory / "no_targets.json", directory) as prometheus:
        prometheus.wait_for(f"target_info @ {backfill.last_s}")
        yield prometheus
