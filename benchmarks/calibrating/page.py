"""Tables of what alerts and panels mark in good runs, and of what marks each injected fault."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.calibrating.colours import Coloured, coloured
from benchmarks.calibrating.marks import Marked, coloured_steps, firing, judged, watched
from benchmarks.calibrating.one_fault import faults_of
from benchmarks.calibrating.stretched import STEP_S, Stretched, store, stretch
from benchmarks.dashboarding.queries import Server, server_on
from deploy.stack.program import TOOLS
from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert

AGO_S: Final = 8 * 3600
"""All stretched runs begin so long ago: the longest takes two hours or so, and no sample may be in the future."""

CONTROL: Final = "no-fault-0"
"""Run of the same recipe and seed as those with a fault, without one."""


class Measured(msgspec.Struct, frozen=True):
    """Stretched runs in a Prometheus: those that learn, and those with a fault, by name."""

    server: Server
    good: dict[str, Stretched]
    broken: dict[str, Stretched]


@contextmanager
def measured(good: list[Path], broken: list[Path]) -> Iterator[Measured]:
    """A Prometheus with all of the runs."""
    began_s = (time.time() - AGO_S) // STEP_S * STEP_S
    with tempfile.TemporaryDirectory(prefix="esper-limits-") as temporary:
        data, found = Path(temporary) / "data", {}
        for run in (*good, *broken):
            place = Path(temporary) / "runs" / name_of(run)
            found[run] = stretch(run, place, began_s)
            store(found[run], place, data, _program("promtool"))
        until_s = max(one.end_s for one in found.values())
        with server_on(data, Path(temporary), _program("prometheus"), until_s) as server:
            yield Measured(server, *({found[run].name: found[run] for run in runs} for runs in (good, broken)))


def name_of(run: Path) -> str:
    """Name of a run: that of its directory, or of its log."""
    return run.name.removesuffix(".gz").removesuffix(".jsonl")


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=TOOLS)
    if found is None:
        raise SystemExit(f"{name}: program not found; install it with 'make tools'")
    return found


def alerts_page(runs: Measured) -> str:
    """The table of the alerts; of the faults, those that fire an alert which the control does not fire."""
    lines = [
        "| alert | severity | good runs with data | good: updates under it | runs | faults that fire it |",
        "|---|---|--:|--:|---|---|",
    ]
    names = {run: runs.server.names(run) for run in (*runs.good, *runs.broken)}
    silent = []
    for alert in judged(ALERTS):
        with_data = [one for one in runs.good.values() if watched(alert) in names[one.name]]
        times = {one.name: firing(runs.server, alert, one) for one in with_data}
        fired = [name for name, found in times.items() if found]
        faults = (
            [] if CONTROL in fired else [fault for one in runs.broken.values() for fault in _fault(runs, alert, one)]
        )
        if not with_data and not faults:
            silent.append(f"`{alert.name}`")
            continue
        steps = sum((one.end_s - one.begin_s) / STEP_S for one in with_data)
        share = f"{100 * sum(map(len, times.values())) / steps:.1f} %" if steps else "absent"
        cells = (f"`{alert.name}`", alert.severity, str(len(with_data)), share, ", ".join(fired), ", ".join(faults))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"No run here has what these watch: {', '.join(silent)}."]
    return "\n".join(lines) + "\n"


def _fault(runs: Measured, alert: Alert, run: Stretched) -> Iterator[str]:
    """Faults of a run from whose first round on an alert begins to fire, before the next fault."""
    times = firing(runs.server, alert, run)
    begins = [at for place, at in enumerate(times) if place == 0 or at - times[place - 1] > STEP_S]
    faults = faults_of(run.name)
    firsts = sorted(min(one.rounds) for one in faults.values())
    for name, one in faults.items():
        first = min(one.rounds)
        later = next((other for other in firsts if other > first), 10**6)
        since, until = run.round_ends.get(first - 1, run.begin_s), run.round_ends.get(later - 1, run.end_s)
        if any(since < at <= until for at in begins):
            yield name


def panels_page(runs: Measured) -> str:
    """The tables of the panels' colours: values with limits, and counts that are coloured from the first on."""
    values = [
        "| dashboard | panel | line | good: marked | critical | runs with a mark | with a fault: marked | critical |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    counts = [
        "| dashboard | panel | count | good runs with one | runs with a fault that have one |",
        "|---|---|---|--:|--:|",
    ]
    for panel in coloured():
        good, broken = (_coloured(runs.server, panel, chosen.values()) for chosen in (runs.good, runs.broken))
        for line in sorted(good.keys() | broken.keys()):
            who = (panel.dashboard, panel.panel, line.replace("|", "\\|"))
            if panel.is_count(line):
                with_one = (f"{len(found[line].runs)} of {found[line].of}" for found in (good, broken))
                counts.append(f"| {' | '.join((*who, *with_one))} |")
            else:
                cells = (*who, good[line].share, str(len(good[line].runs)), broken[line].share)
                values.append(f"| {' | '.join(cells)} |")
    return "\n".join([*values, "", *counts]) + "\n"


def _coloured(server: Server, panel: Coloured, runs: Iterable[Stretched]) -> dict[str, Marked]:
    found: dict[str, Marked] = defaultdict(Marked)
    for run in runs:
        for line, one in coloured_steps(server, panel, run).items():
            found[line].add(one)
    return found
