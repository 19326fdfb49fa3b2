"""Cost of a rank and needs of 10,000 by what the relays leave out; writes tables of docs/guides/scale.md.

    python -m benchmarks.scale_choices [--recording RUN_DIRECTORY] [--choices 0,1,2] [--ranks …] [--no-load] [--print]

Replays the rounds of a demo run at a pace of 2.7 s through relays with each choice of settings, and puts what they
export on one gateway in a few steps of ranks. Bytes and items depend on the log alone. CPU is CPU time as /proc counts
it, so that the machine may do something else beside, as long as the gateway keeps up; how many ranks fill a gateway is
extrapolated from it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.scaling import need_of_choice, page
from benchmarks.scaling.choice import CHOICES, Cost, archived_bytes, cost_of
from benchmarks.scaling.gateway import Shape
from benchmarks.scaling.paced import Recording
from benchmarks.scaling.processes import ROOT, environment
from benchmarks.scaling.steps import Climb, Plan, climb

PAGE: Final = ROOT / "docs" / "guides" / "scale.md"
ROUND_S: Final = 2.7
"""Time of a round of the demo on an idle machine."""

STEPS: Final = ("16,32,64", "32,64,128", "64,128,256")
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


def load(cost: Cost, ranks: list[int], cores: int, directory: Path) -> Climb:
    """Put the traffic of ``cost`` on a gateway."""
    plan = Plan(ranks=ranks, round_s=cost.round_s)
    return climb(cost.schedule, Shape(cores=cores), plan, directory)


def main() -> int:
    """Measure, write and return the exit status."""
    parser = argparse.ArgumentParser(description="Measure what leaving out changes at 1, 100 and 10,000 ranks.")
    parser.add_argument("--recording", type=Path, help="run directory of a demo (default: train one)")
    parser.add_argument("--ranks", nargs="*", default=STEPS, help="steps of the load, for each choice")
    parser.add_argument("--cores", type=int, default=2, help="processors of the gateway")
    parser.add_argument("--no-load", action="store_true", help="do not measure the gateway")
    parser.add_argument("--print", action="store_true", help="print the tables, do not write the page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="esper-choices-") as name:
        directory = Path(name)
        try:
            recording = Recording(given.recording or trained(directory))
            archived = archived_bytes(recording, ROUND_S, directory)
            costs = [cost_of(recording, one, ROUND_S, archived, directory / f"{i}") for i, one in enumerate(CHOICES)]
            print(need_of_choice.costs([(cost, None) for cost in costs]), flush=True)
            climbs = (
                []
                if given.no_load
                else [
                    load(cost, [int(part) for part in steps.split(",")], given.cores, directory / f"load-{i}")
                    for i, (cost, steps) in enumerate(zip(costs, given.ranks, strict=True))
                ]
            )
        except (RuntimeError, FileNotFoundError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
    capacities = [need_of_choice.capacity_of(one) for one in climbs] or [None] * len(costs)
    measured = list(zip(costs, capacities, strict=True))
    sections = {"choices": need_of_choice.costs(measured), "needs": need_of_choice.needs(measured)}
    if climbs:
        sections["choice-steps"] = need_of_choice.steps(list(zip(costs, climbs, strict=True)))
    text = PAGE.read_text(encoding="utf-8")
    for section, body in sections.items():
        print(f"## {section}\n\n{body}")
        if not given.print:
            text = page.put(text, section, body)
    if not given.print:
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
