"""Make the runs of the labelled set, those that are missing: ``python -m benchmarks.diagnosing.make out/diagnoses``.

Packages are imported once, and every run is a process forked from that state: importing takes longer than most runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Final

import esper_otel
from benchmarks.diagnosing.cases import HALVES, Case, cases

ROOT: Final = Path(__file__).parents[2]
FRAMEWORKS: Final = ROOT / "out" / "frameworks" / "site-packages"
"""Packages of Stable-Baselines3, as ``make frameworks`` installs them."""

LABEL: Final = "label.json"
LIMIT_S: Final = 300
"""Time after which a run is no run any more: torch's gloo sometimes waits forever for its own threads at the end."""


def make(case: Case, directory: Path) -> bool | None:
    """Make one run below ``directory``; None if it is there, else whether this process is a child that has to train."""
    place = directory / case.name
    if (place / LABEL).exists():
        return None
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    began = time.monotonic()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children: dict[int, int] = {}
    for rank in range(case.ranks):
        pid = os.fork()
        if pid == 0:
            _prepare(case, place, rank, port)
            return True
        children[pid] = rank
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    if -signal.SIGALRM in statuses:
        shutil.rmtree(place)
        raise SystemExit(f"{case.name} had not ended after {LIMIT_S} s and was removed; run this again to make it")
    label = {"fault": case.fault, "producer": case.producer, "seed": case.seed, "statuses": statuses}
    (place / LABEL).write_text(json.dumps({**label, "seconds": round(time.monotonic() - began, 1)}))
    return False


def _prepare(case: Case, place: Path, rank: int, port: int) -> None:
    output = os.open(place / f"output.rank{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(LIMIT_S)
    os.environ |= {"ESPER_OTEL_TELEMETRY_DIR": str(place / "telemetry"), "ESPER_OTEL_RELAY": "0"}
    os.environ |= {"ESPER_OTEL_RUN_ID": case.name}
    if case.ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(case.ranks)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(case.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if case.is_automatic:
        esper_otel.autolog()
    sys.argv = list(case.command)
    if case.producer == "trainer":
        sys.argv += ["--telemetry-dir", str(place / "telemetry")]


def main() -> int:
    """Make all of them; a child trains and returns its status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--fault", nargs="*", help="cases with one of these faults; 'none' is the healthy ones")
    parser.add_argument("--half", choices=HALVES, help="the half on which rules may be fixed, or the other")
    parser.add_argument("--first-seed", type=int, default=0, help="smallest seed, even; runs nobody has seen")
    options = parser.parse_args()
    sys.path.insert(0, str(FRAMEWORKS))
    import torch
    import torch._dynamo  # the first optimizer would: a child's 5 s of processor time

    torch.set_num_threads(1)
    chosen = [
        case for case in cases(options.first_seed) if options.only in case.name and options.half in {None, case.half}
    ]
    chosen = [case for case in chosen if not options.fault or case.fault in options.fault]
    for case in chosen:
        import_module(case.command[0])
    for number, case in enumerate(chosen, start=1):
        is_child = make(case, options.directory)
        if is_child:
            return import_module(case.command[0]).main() or 0
        if is_child is not None:
            print(f"{number} of {len(chosen)}: {case.name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
