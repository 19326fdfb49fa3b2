"""Cost of a rank and throughput of a gateway, past one machine; writes the tables of docs/guides/scale.md.

    python -m benchmarks.scale [--ranks 50,75,100] [--cores 2] [--rounds N] [--no-load] [--print]

Trains the demo and the chaos recipe with a relay beside them, replays the recordings of esper-lite where they are, and
then puts load on one gateway in steps of a minute until it refuses: about 20 minutes, on loopback alone. CPU is
CPU time as /proc counts it; the number of ranks that are sustained is that of the machine as it is, so run it when
nothing else does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.scaling import page
from benchmarks.scaling.gateway import Shape
from benchmarks.scaling.processes import ROOT
from benchmarks.scaling.rank import INTERVAL_S, Rank, rank_of
from benchmarks.scaling.runs import Run, measure_recipe, measure_recording
from benchmarks.scaling.schedule import schedule_of
from benchmarks.scaling.sizing import need
from benchmarks.scaling.steps import Climb, Plan, climb

PAGE: Final = ROOT / "docs" / "guides" / "scale.md"
RECORDINGS: Final = ROOT.parent / "shared" / "data"
SIZES: Final = (1, 100, 10_000)
SLOW_ROUND_S: Final = 60.0
"""Length of a round of a host that is worth a GPU; the demo's takes seconds."""

SLOW_RANKS: Final = 8
"""How many times the ranks are tried at that pace."""


def measure(directory: Path, rounds: int | None) -> list[Run]:
    """The demo, chaos, and every recording that is there."""
    options = () if rounds is None else ("--rounds", str(rounds))
    runs = [measure_recipe("demo", directory, *options), measure_recipe("chaos", directory)]
    for log in sorted(RECORDINGS.glob("*.jsonl.gz")):
        runs.append(measure_recording(log, directory / f"state-{log.name}"))
    return runs


def load(demo: Run, directory: Path, ranks: list[int], cores: int) -> list[Climb]:
    """Climb at the demo's pace with and without tail sampling, and at a slower pace."""
    schedule = schedule_of(demo.run_id, demo.requests, INTERVAL_S)
    round_s = rank_of(demo).round_s
    slow = schedule.stretched(SLOW_ROUND_S / round_s)
    slow_ranks = [number * SLOW_RANKS for number in ranks]
    full, unsampled = Shape(cores=cores), Shape(cores=cores, tail_sampling=False)
    return [
        climb(schedule, full, Plan(ranks=ranks, round_s=round_s, to_refusal=True), directory / "full"),
        climb(schedule, unsampled, Plan(ranks=ranks, round_s=round_s), directory / "unsampled"),
        climb(slow, full, Plan(ranks=slow_ranks, round_s=SLOW_ROUND_S), directory / "slow"),
    ]


def sections(runs: list[Run], climbed: list[Climb]) -> dict[str, str]:
    """Every section of the page that was measured, by the name of its marks."""
    ranks = {run.name: rank_of(run) for run in runs}
    found = {"budget": page.budget(runs), "rank": page.ranks(ranks), "relabelling": page.relabelling(runs[0])}
    if climbed:
        found["gateway"] = "\n".join(page.steps(one) for one in climbed)
        found["sizes"] = "\n".join(sizes(ranks["demo"], one) for one in climbed if one.shape.tail_sampling)
    return found


def sizes(rank: Rank, climbed: Climb) -> str:
    """Needs of :data:`SIZES` at the pace of ``climbed``."""
    best, round_s = climbed.sustained, climbed.plan.round_s
    if best is None:
        return f"No number of ranks with rounds of {round_s:.1f} s was sustained.\n"
    computed = [need(count, rank.at_pace(round_s), best.ranks) for count in SIZES]
    return f"Rounds of {round_s:.1f} s:\n\n{page.needs(computed)}"


def main() -> int:
    """Measure, write and return the exit status."""
    parser = argparse.ArgumentParser(description="Measure the figures of docs/guides/scale.md.")
    parser.add_argument("--ranks", default="50,75,100,125,150,175,200,250,300", help="steps of the load")
    parser.add_argument("--cores", type=int, default=2, help="processors of the gateway")
    parser.add_argument("--rounds", type=int, help="rounds of the demo (default: all)")
    parser.add_argument("--no-load", action="store_true", help="do not measure the gateway")
    parser.add_argument("--print", action="store_true", help="print the tables, do not write the page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="esper-scale-") as name:
        directory = Path(name)
        try:
            runs = measure(directory, given.rounds)
            ranks = [int(part) for part in given.ranks.split(",")]
            climbed = [] if given.no_load else load(runs[0], directory, ranks, given.cores)
        except (RuntimeError, FileNotFoundError) as error:
            print(error, file=sys.stderr)
            return 1
    page.publish(PAGE, sections(runs, climbed), is_written=not given.print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
