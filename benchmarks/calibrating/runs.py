"""Make the runs that the limits are measured on, those that are missing.

    python -m benchmarks.calibrating.runs DIRECTORY [--cleanrl ppo.py]

Healthy ones lie in DIRECTORY/good, those with one fault each in DIRECTORY/broken. CleanRL is no package: without a
path to its ppo.py its runs are left out. Stable-Baselines3 is where ``make frameworks`` installs it. Runs of the
trainer are processes forked after its imports, which take longer than some of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.calibrating import one_fault
from benchmarks.diagnosing.make import FRAMEWORKS
from trainer import __main__ as trainer

ROOT: Final = Path(__file__).parents[2]
DEMO_SEEDS: Final = range(4)
DEMO_ROUNDS: Final = "14"
CONTROL_SEEDS: Final = (0, 1)
"""The first is the seed of the runs with a fault."""

OTHER_SEEDS: Final = (1, 2, 3)
SB3_STEPS: Final = "20480"
CLEANRL_STEPS: Final = "60000"
RECORD: Final = str(Path(sys.executable).with_name("esper-otel"))

Program = Callable[[], int] | str
"""The main function of a program of ours, or the path of another."""


def programs(cleanrl: Path | None) -> Iterator[tuple[str, Program, list[str]]]:
    """Place, program and arguments of every run."""
    for fault in one_fault.FAULTS:
        yield f"broken/{fault}", one_fault.main, [fault, "--seed", "0"]
    for seed in DEMO_SEEDS:
        yield f"good/demo-{seed}", trainer.main, ["--recipe", "demo", "--rounds", DEMO_ROUNDS, "--seed", str(seed)]
    for seed in CONTROL_SEEDS:
        yield f"good/no-fault-{seed}", one_fault.main, [one_fault.CONTROL, "--seed", str(seed)]
    for seed in OTHER_SEEDS:
        sb3 = ["-m", "benchmarks.diagnosing.policies", "none", "--seed", str(seed), "--steps", SB3_STEPS]
        yield f"good/sb3-ppo-{seed}", RECORD, ["run", *sb3]
        if cleanrl is not None:
            steps = ["--total-timesteps", CLEANRL_STEPS, "--no-cuda"]
            yield f"good/cleanrl-ppo-{seed}", RECORD, ["run", str(cleanrl.resolve()), "--seed", str(seed), *steps]


def make(place: Path, program: Program, arguments: list[str]) -> None:
    """Make one run; nothing is left of one that failed."""
    search = os.pathsep.join([str(ROOT), str(FRAMEWORKS), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(prefix="esper-limits-") as temporary:
        os.environ |= {"ESPER_OTEL_TELEMETRY_DIR": temporary, "ESPER_OTEL_RUN_ID": place.name, "ESPER_OTEL_RELAY": "0"}
        if isinstance(program, str):
            whole, variables = [program, *arguments], {**os.environ, "PYTHONPATH": search}
            status = subprocess.run(whole, check=False, cwd=temporary, env=variables).returncode
        else:
            status = _forked(program, [*arguments, "--no-progress", "--telemetry-dir", temporary])
        if status:
            raise SystemExit(f"{place.name} ended with status {status}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree((Path(temporary) / "latest").resolve(), place)


def _forked(main: Callable[[], int], arguments: list[str]) -> int:
    """Status of a program of ours in a process of its own."""
    pid = os.fork()
    if pid == 0:
        sys.argv = ["calibration", *arguments]
        status = 1
        try:
            status = main()
        finally:
            os._exit(status)  # what the parent cleans up is not the child's
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Make all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cleanrl", type=Path, help="ppo.py of a checkout of CleanRL")
    parser.add_argument("--only", default="", help="runs whose place contains this")
    options = parser.parse_args()
    for name, program, arguments in programs(options.cleanrl):
        place = options.directory.resolve() / name
        if options.only in name and not place.exists():
            make(place, program, arguments)
            print(place, flush=True)


if __name__ == "__main__":
    main()
