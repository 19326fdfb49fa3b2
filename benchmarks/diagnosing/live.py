"""Time until the diagnosis names a slow or a stopped rank of a running job: three processes, gloo, torch.distributed.

    python -m benchmarks.diagnosing.live [--healthy 60] [FAULT ...]

Of a slow rank the time is counted from its first recorded phases, of a stopped one from SIGSTOP. A healthy job is asked
as often, for as many seconds, and must have no finding.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Finding, Grade
from esper_otel.stacks.owners import owner_of, owners_of

SLOW: Final = ("slow_rank_compute", "slow_rank_input", "slow_rank_sleep")
STOPPED: Final = "stopped_rank"
HEALTHY: Final = "none"
RANK: Final = 1

LIMITS_S: Final = {"straggler": 20.0, "rank_stopped": 30.0}
GIVE_UP_S: Final = 900.0


@contextmanager
def job(fault: str, scratch: Path) -> Iterator[Path]:
    """The run of a job that trains until it is ended."""
    environment = {**os.environ, "ESPER_OTEL_TELEMETRY_DIR": str(scratch), "ESPER_OTEL_RUN_ID": fault}
    environment |= {"OMP_NUM_THREADS": "1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0", "ESPER_OTEL_LINGER": "0"}
    programs = Path(sys.executable).parent
    launcher = [str(programs / "torchrun"), "--standalone", "--nproc-per-node", "3"]
    command = [str(programs / "esper-otel"), "run", *launcher, "-m", "benchmarks.diagnosing.loops"]
    with (scratch / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, fault, "--seconds", "3600"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait(lambda: process.poll() is not None or has_phases(scratch / fault), "the first phases")
            if process.poll() is not None:
                raise SystemExit((scratch / "output").read_text())
            yield scratch / fault
        finally:
            ranks = [owner.pid for owner in owners_of(scratch / fault) if owner.pid is not None]
            for end, number in ((os.killpg, process.pid), *((os.kill, pid) for pid in ranks)):
                with contextlib.suppress(ProcessLookupError):
                    end(number, signal.SIGKILL)  # the launcher gives each rank a session of its own
            process.wait()


def findings(run: Path) -> list[Finding]:
    """Findings of the run now; those that are only worth knowing are left out."""
    return [finding for finding in diagnose(run).findings if finding.severity is not Grade.INFO]


def wait(condition: Callable[[], object], what: str) -> None:
    """Wait until ``condition`` is true."""
    end = time.monotonic() + GIVE_UP_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {GIVE_UP_S:g} s")
        time.sleep(0.2)


def has_phases(run: Path) -> bool:
    """Return True if every rank has reported the phases of its steps."""
    logs = [run / name for name in ("events.jsonl", "events.rank1.jsonl", "events.rank2.jsonl")]
    return all(log.exists() and b"TOLARIA_PHASE_DURATIONS" in log.read_bytes() for log in logs)


def seconds_until(kind: str, fault: str) -> float:
    """Seconds until a finding of ``kind`` names the rank."""
    with tempfile.TemporaryDirectory() as scratch, job(HEALTHY if fault == STOPPED else fault, Path(scratch)) as run:
        if fault == STOPPED:
            owner = owner_of(run, RANK)
            assert owner is not None
            assert owner.pid is not None
            os.kill(owner.pid, signal.SIGSTOP)
        began = time.monotonic()
        found: list[Finding] = []

        def is_named() -> bool:
            found[:] = [each for each in findings(run) if each.kind == kind and each.who.get("rank") == str(RANK)]
            return bool(found) and (fault != STOPPED or bool(found[0].stack))

        wait(is_named, f"{kind} of {fault}")
        took = time.monotonic() - began
        print(f"  {found[0].sentence} {found[0].cause}")
        return took


def false_findings(seconds: float) -> list[str]:
    """Findings on a healthy job that runs for as long."""
    with tempfile.TemporaryDirectory() as scratch, job(HEALTHY, Path(scratch)) as run:
        end, found = time.monotonic() + seconds, set()
        while time.monotonic() < end:
            found |= {each.sentence for each in findings(run)}
            time.sleep(1.0)
        return sorted(found)


def main() -> None:
    """Measure, print, and end with status 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", nargs="*", default=[*SLOW, STOPPED])
    parser.add_argument("--healthy", type=float, default=60.0)
    options = parser.parse_args()
    is_missed = False
    for fault in options.fault:
        kind = "rank_stopped" if fault == STOPPED else "straggler"
        took = seconds_until(kind, fault)
        is_missed |= took > LIMITS_S[kind]
        print(
            f"{fault}: named after {took:.1f} s, limit {LIMITS_S[kind]:g} s; load {os.getloadavg()[0]:.1f}", flush=True
        )
    said = false_findings(options.healthy) if options.healthy else []
    print(f"healthy: {len(said)} findings in {options.healthy:g} s {said}")
    raise SystemExit(is_missed or bool(said))


if __name__ == "__main__":
    main()
