"""Share of policy updates that each limit marks, in good runs and in runs with injected faults.

    python -m benchmarks.limits --good RUN … --broken RUN … [--write docs/evidence/limits.md]
    python -m benchmarks.limits --trainings RUN … [--write docs/evidence/limits.md]

Good runs learn: those of benchmarks.calibrating.runs, recordings of esper-lite. Broken runs have one fault of the chaos
recipe each. Trainings are healthy runs of any programs, such as those of benchmarks.norms.programs: they give the table
of the gradient norm's limits. A run is a directory or a log. The limits are those on the events' fields, which panels,
report and alerts read as well; alerts and panels are asked of a real Prometheus with the runs.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.calibrating.one_fault import FAULTS, faults_of
from benchmarks.calibrating.page import CONTROL, alerts_page, measured, name_of, panels_page
from benchmarks.norms import table
from benchmarks.table.parts import give
from esper_otel.events import PolicyUpdate
from esper_otel.events.declare import Severity, Threshold
from esper_otel.signals import SIGNALS
from esper_otel.sql import connect

BY: Final = "benchmarks/limits.py"
ALARMS: Final = ("warning", "error", "critical")
"""Severities of events by which a detector reports a fault."""

COUNTED_ONLY: Final = frozenset({"explained_variance"})
"""Fields whose limits good runs pass at first: an alert looks at the share of an hour, and no panel is coloured."""

NOT_OF_THE_LOG: Final = frozenset({"update_time_ms", "head_entropy"})
"""Fields that depend on the machine, or that esper-lite's log holds in another way than the metric: over all steps."""

AFTER: Final = 1
"""Rounds after a fault in which it still counts as seen: a spoiled policy acts in the next rollout."""


class Share(msgspec.Struct, frozen=True):
    """Updates that one limit marks: as at least a warning, and as critical."""

    updates: int
    marked: int
    critical: int

    @property
    def text(self) -> str:
        """Both as per cent."""
        if not self.updates:
            return "absent | absent"
        return " | ".join(f"{100 * count / self.updates:.1f} %" for count in (self.marked, self.critical))


def limits() -> dict[str, Threshold]:
    """Limits by field of the policy update; those by head apply to each."""
    found = {}
    for signal in SIGNALS:
        limit = signal.limits or signal.threshold
        if signal.event is PolicyUpdate and limit is not None and signal.path[0] not in NOT_OF_THE_LOG:
            found[signal.path[0]] = limit
    return found


@cache
def _read(run: Path) -> dict[str, list[tuple[int, Any]]]:
    """Round and value of every field in each update of a run."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with connect([run]) as log:
        for view in ("tamiyo_updates", "tamiyo_updates_by_head"):
            asked = log.sql(f"SELECT * FROM {view} ORDER BY timestamp")
            names, rows = list(asked.columns), asked.fetchall()
            batch = names.index("batch")
            for place, name in enumerate(names):
                found[name] = [(int(row[batch] or 0), row[place]) for row in rows]
    return found


def values(run: Path, field: str) -> list[tuple[int, float]]:
    """Round and value of a field in each update of a run, those by head one by one; absent ones are left out."""
    found = _read(run).get(field, [])
    return [(batch, float(value)) for batch, value in found if isinstance(value, int | float)]


def share(runs: list[Path], field: str, limit: Threshold) -> Share:
    """Updates of all ``runs`` that ``limit`` marks."""
    found = [limit.severity_of(value) for run in runs for _, value in values(run, field)]
    return Share(len(found), sum(one is not None for one in found), found.count(Severity.CRITICAL))


def alarms(runs: list[Path]) -> dict[str, float]:
    """Events by which detectors report a fault, for each update of all ``runs``."""
    counts: Counter[str] = Counter()
    updates = 0
    for run in runs:
        with connect([run]) as log:
            rows = log.sql("SELECT event_type, severity FROM raw_events").fetchall()
        counts.update(kind for kind, severity in rows if severity in ALARMS)
        updates += sum(kind == PolicyUpdate.event_type for kind, _ in rows)
    return {kind: count / updates for kind, count in counts.items()}


def seen(run: Path, rounds: tuple[int, ...]) -> list[str]:
    """Critical limits and detectors' events that mark a fault, in its rounds or the one after."""
    critical = {
        field: {batch for batch, value in values(run, field) if limit.severity_of(value) is Severity.CRITICAL}
        for field, limit in limits().items()
        if field not in COUNTED_ONLY
    }
    near = {number + later for number in rounds for later in range(AFTER + 1)}
    by_limit = [field for field, marked in critical.items() if marked & near]
    begin, end = min(rounds) - 1, max(rounds) + AFTER
    with connect([run]) as log:
        of_rounds = log.sql("SELECT batch_idx, max(timestamp) FROM tolaria_batches GROUP BY 1").fetchall()
        ends: dict[int, Any] = dict(of_rounds)
        rows = log.sql("SELECT event_type, severity, timestamp FROM raw_events").fetchall()
    found = {
        kind
        for kind, severity, at in rows
        if severity in ALARMS and (begin not in ends or at > ends[begin]) and at <= ends.get(end, max(ends.values()))
    }
    return [*by_limit, *sorted(found)]


def page(good: list[Path], broken: list[Path]) -> str:
    """The tables of limits, detectors and faults as Markdown."""
    lines = [
        f"Good runs: {', '.join(map(name_of, good))}. Runs with one fault each: {', '.join(map(name_of, broken))}.\n",
        "| field | limits | good: marked | critical | with a fault: marked | critical |",
        "|---|---|---|---|---|---|",
    ]
    for field, limit in sorted(limits().items()):
        lines.append(
            f"| `{field}` | {_words(limit)} | {share(good, field, limit).text} | {share(broken, field, limit).text} |"
        )
    lines += ["", "| detector | good: events an update | with a fault |", "|---|---|---|"]
    counted = [alarms(runs) for runs in (good, broken)]
    for kind in sorted(counted[0].keys() | counted[1].keys()):
        lines.append(f"| `{kind}` | {' | '.join(f'{one.get(kind, 0.0):.3f}' for one in counted)} |")
    lines += ["", "| fault | rounds | marked by critical limits and detectors |", "|---|---|---|"]
    return "\n".join([*lines, *_faults(good, broken)]) + "\n"


def _faults(good: list[Path], broken: list[Path]) -> Iterator[str]:
    """A row for each fault: what marks it and does not mark the same rounds of the same run without it."""
    control = next((run for run in good if run.name == CONTROL), None)
    for run in broken:
        for name, one in faults_of(run.name).items():
            without = seen(control, one.rounds) if control and run.name in FAULTS else []
            by = ", ".join(f"`{mark}`" for mark in seen(run, one.rounds) if mark not in without) or "**nothing**"
            yield f"| {name} | {', '.join(map(str, one.rounds))} | {by} |"


def asked_page(good: list[Path], broken: list[Path]) -> str:
    """The tables of alerts and panels as Markdown."""
    with measured(good, broken) as runs:
        return f"{alerts_page(runs)}\n{panels_page(runs)}"


def _words(limit: Threshold) -> str:
    sides = (("<", limit.warning_below, limit.critical_below), (">", limit.warning_above, limit.critical_above))
    said = (", ".join(f"{sign} {one:g}" for one in values if one is not None) for sign, *values in sides)
    return "; ".join(filter(None, said))


PARTS: Final = {"limits": page, "asked": asked_page}


def main() -> None:
    """Print tables, or write them into a page between their marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=Path, nargs="+", default=[], help="runs that learn")
    parser.add_argument("--broken", type=Path, nargs="+", default=[], help="runs of the chaos recipe with one fault")
    parser.add_argument("--trainings", type=Path, nargs="+", default=[], help="healthy runs of any programs")
    parser.add_argument("--only", choices=PARTS, default="", help="tables from the logs, or from a Prometheus")
    parser.add_argument("--write", type=Path, help="page that holds the tables between two marks")
    arguments = parser.parse_args()
    if arguments.good and arguments.broken:
        for name, tables in PARTS.items():
            if arguments.only in ("", name):
                give(name, BY, tables(arguments.good, arguments.broken), arguments.write)
    if arguments.trainings:
        give("norms", BY, table.page(arguments.trainings), arguments.write)


if __name__ == "__main__":
    main()
