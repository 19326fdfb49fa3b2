"""Cost of a rank and needs of 10,000 by what the relays leave out; writes tables of docs/guides/scale.md.

    python -m benchmarks.scaling.choices [--recording RUN_DIRECTORY] [--costs FILE] [--ranks …] [--no-load] [--print]

Replays the rounds of a demo run at a pace of 2.7 s through relays with each choice of settings, and puts what they
export on one gateway in two steps of ranks. Bytes and items depend on the log alone. CPU is CPU time as /proc counts
it, by the items that came, so that the machine may do something else beside; how many ranks fill a gateway is
extrapolated from it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.scaling import need_of_choice, page, summarised
from benchmarks.scaling.choice import CHOICES, Cost, archived_bytes, cost_of
from benchmarks.scaling.gateway import Shape
from benchmarks.scaling.need_of_choice import Capacity, capacity_of
from benchmarks.scaling.paced import Recording
from benchmarks.scaling.processes import ROOT, environment
from benchmarks.scaling.steps import Climb, Plan, climb

PAGE: Final = ROOT / "docs" / "guides" / "scale.md"
ROUND_S: Final = 2.7
"""Time of a round of the demo on an idle machine."""

RECORDINGS: Final = ROOT.parent / "shared" / "data"
STEPS: Final = ("16,48", "32,96", "64,192")
"""Ranks on the gateway for each choice."""


def trained(directory: Path) -> Path:
    """A new run of the demo without a relay.

    Raises:
        RuntimeError: the trainer failed.
    """
    run_id = "scale-demo-000000"
    command = [sys.executable, "-m", "trainer", "--recipe", "demo", "--no-progress", "--telemetry-dir", str(directory)]
    env = environment(ESPER_OTEL_RELAY="0", ESPER_OTEL_RUN_ID=run_id)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the trainer failed: {done.stderr[-2000:]}")
    return directory / run_id


def measure(recording: Path | None, directory: Path) -> list[Cost]:
    """The cost of a rank with each choice."""
    rounds = Recording(recording or trained(directory))
    archived = archived_bytes(rounds, ROUND_S, directory)
    return [cost_of(rounds, one, ROUND_S, archived, directory / f"{number}") for number, one in enumerate(CHOICES)]


def load(costs: list[Cost], steps: list[str], cores: int, directory: Path) -> list[Climb]:
    """Put the traffic of each choice on a gateway."""
    return [
        climb(
            cost.schedule,
            Shape(cores=cores),
            Plan(ranks=[int(part) for part in ranks.split(",")], round_s=cost.round_s, to_refusal=True),
            directory / f"load-{number}",
        )
        for number, (cost, ranks) in enumerate(zip(costs, steps, strict=True))
    ]


def sections(costs: list[Cost], climbs: list[Climb]) -> dict[str, str]:
    """The sections of the page, by the name of their marks."""
    found = {}
    measured: list[tuple[Cost, Capacity | None]] = [(cost, None) for cost in costs]
    if climbs:
        pairs = list(zip(costs, climbs, strict=True))
        measured = [(cost, capacity_of(one, cost.items_per_s)) for cost, one in pairs]
        found["choice-steps"] = need_of_choice.steps(pairs)
    return {**found, "choices": need_of_choice.costs(measured), "needs": need_of_choice.needs(measured)}


def main() -> int:
    """Measure, write and return the exit status."""
    parser = argparse.ArgumentParser(description="Measure what leaving out changes at 1, 100 and 10,000 ranks.")
    parser.add_argument("--recording", type=Path, help="run directory of a demo (default: train one)")
    parser.add_argument("--costs", type=Path, help="file of measured costs: read if it is there, else written")
    parser.add_argument("--ranks", nargs="*", default=STEPS, help="steps of the load, for each choice")
    parser.add_argument("--cores", type=int, default=2, help="processors of the gateway")
    parser.add_argument("--no-load", action="store_true", help="do not measure the gateway")
    parser.add_argument("--print", action="store_true", help="print the tables, do not write the page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="esper-choices-") as name:
        try:
            if given.costs and given.costs.exists():
                costs = msgspec.msgpack.decode(given.costs.read_bytes(), type=list[Cost])
            else:
                costs = measure(given.recording, Path(name))
            if given.costs:
                given.costs.write_bytes(msgspec.msgpack.encode(costs))
            climbs = [] if given.no_load else load(costs, given.ranks, given.cores, Path(name))
        except (RuntimeError, FileNotFoundError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
    found = sections(costs, climbs)
    if given.recording:
        logs = [(log.name.split(".jsonl")[0], log) for log in sorted(RECORDINGS.glob("*.jsonl.gz"))]
        found["summary"] = summarised.summary([("demo", given.recording), *logs])
    page.publish(PAGE, found, is_written=not given.print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
