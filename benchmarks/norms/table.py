"""Share of healthy updates, and of explosions among them, that the limits of ``grad_norm_excess`` mark.

The rule of the sensors is run over the norms of logs. An explosion is put at every update in turn: the norm of
that update is a multiple of the usual one, which is the median of the hundred before it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.events.training_update import EXCESS_THRESHOLD
from esper_otel.sensors.updating.recent import UNJUDGED, RecentNorm
from esper_otel.sql import connect

TIMES: Final = (30, 100, 1000)
USUAL: Final = 100
"""Updates before an explosion whose median is the usual norm."""

_NORMS: Final = """
    SELECT model, optimizer, pre_clip_grad_norm FROM tolaria_training_update
    WHERE isfinite(pre_clip_grad_norm) ORDER BY model, optimizer, "update"
"""


class Row(msgspec.Struct):
    """Updates of the optimizers of some runs: all, those beyond either limit, explosions put in and those found."""

    updates: int = 0
    marked: int = 0
    critical: int = 0
    worst: float = 0.0
    placed: int = 0
    found: dict[int, int] = msgspec.field(default_factory=lambda: dict.fromkeys(TIMES, 0))

    def add(self, norms: list[float]) -> None:
        """Judge the updates of one optimizer, and explosions at each of them."""
        recent = RecentNorm()
        for place, norm in enumerate(norms):
            if place >= UNJUDGED:
                usual = statistics.median(norms[max(0, place - USUAL) : place])
                self.placed += 1
                for times in TIMES:
                    # A copy: an explosion is judged by the norms before it, and the program goes on without it.
                    self.found[times] += _is_critical(recent.copy().excess(times * usual))
            excess = recent.excess(norm)
            self.updates += 1
            if excess is not None:
                self.worst = max(self.worst, excess)
                self.marked += EXCESS_THRESHOLD.severity_of(excess) is not None
                self.critical += _is_critical(excess)

    @property
    def text(self) -> str:
        """Columns of the table."""
        found = " | ".join(
            f"{math.floor(1000 * self.found[times] / max(self.placed, 1)) / 10:.1f} %" for times in TIMES
        )
        marked = f"{100 * self.marked / max(self.updates, 1):.2f} %"
        return f"{self.updates:,} | {marked} | {self.critical} | {self.worst:.1f} | {found}"


def _is_critical(excess: float | None) -> bool:
    return excess is not None and excess > (EXCESS_THRESHOLD.critical_above or math.inf)


def norms_of(run: Path) -> Iterator[list[float]]:
    """Norms before clipping of each optimizer of a run, in order."""
    found: dict[tuple[str, str], list[float]] = {}
    with connect([run]) as log:
        for model, optimizer, norm in log.sql(_NORMS).fetchall():
            found.setdefault((model, optimizer), []).append(norm)
    yield from found.values()


def page(runs: list[Path]) -> str:
    """The table as Markdown; runs whose names differ in a last number are one row."""
    rows: dict[str, Row] = {}
    for run in runs:
        row = rows.setdefault(run.name.rstrip("0123456789").rstrip("-"), Row())
        for norms in norms_of(run):
            row.add(norms)
    limits = " | ".join(
        f"above {limit:g}" for limit in (EXCESS_THRESHOLD.warning_above, EXCESS_THRESHOLD.critical_above)
    )
    lines = [
        f"| program | updates | {limits} | largest | {' | '.join(f'× {times:,}' for times in TIMES)} |",
        f"|---|---|---|---|---|{'---|' * len(TIMES)}",
        *(f"| {name} | {row.text} |" for name, row in rows.items()),
    ]
    return "\n".join(lines) + "\n"
