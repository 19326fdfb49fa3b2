"""Time until the diagnosis names a slow or a stopped rank of a running job, and what it finds in a healthy one.

    python -m benchmarks.diagnosing.live [--before 60] [--healthy 600] [--write docs/evidence/diagnoses.md] [FAULT ...]

Three processes of one training, gloo, torch.distributed. They train for ``--before`` seconds like a healthy job; then
one gets a signal, from which on it is slow or stopped, and from which the time is counted. A healthy job of as many
ranks is asked for ``--healthy`` seconds and must have no finding: of its last hour every few seconds, as the relay
asks, and of its whole log each minute, as a person does.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.diagnosing.judge import written_into
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Finding, Grade
from esper_otel.diagnosis.live import LiveDiagnosis
from esper_otel.diagnosis.ranks import STEP
from esper_otel.log.locks.lock import is_free
from esper_otel.relay.checkpoint import LOCK
from esper_otel.stacks.owners import owner_of, owners_of

BEGIN: Final = "<!-- stragglers: written by benchmarks/diagnosing/live.py -->"
END: Final = "<!-- end of stragglers -->"

SLOW: Final = ("slow_rank_compute", "slow_rank_input", "slow_rank_sleep")
STOPPED: Final = "stopped_rank"
HEALTHY: Final = "none"
RANK: Final = 1

LIMITS_S: Final = {"straggler": 20.0, "rank_stopped": 30.0}
GIVE_UP_S: Final = 900.0
ASKED_EVERY_S: Final = 5.0
WHOLE_EVERY_S: Final = 60.0

SLOW_STEPS: Final = ("--pause", "0.02")
"""A healthy job that runs for long shares its processors: it sleeps for most of each step."""


class Named(msgspec.Struct, frozen=True):
    """One fault: the finding that named its rank, the time after which it did, that of the longest question, s."""

    fault: str
    finding: Finding
    took_s: float
    asked_s: float
    before: int

    @property
    def step(self) -> str:
        """Time of a step without the slowness, which a busy machine makes longer; empty for a rank that stopped."""
        return next((f"{each.value:.1f}" for each in self.finding.evidence if each.name == STEP), "")

    @property
    def limit_s(self) -> float:
        """Time by which it has to be named, s."""
        return LIMITS_S[self.finding.kind]


class Healthy(msgspec.Struct, frozen=True):
    """A healthy job: how long it was asked, how often, and what was found last of each kind of finding."""

    seconds: float
    asked: int
    asked_whole: int
    found: dict[str, str]


@contextmanager
def job(fault: str, scratch: Path, *options: str) -> Iterator[Path]:
    """The run of a job that trains until it is ended."""
    environment = {**os.environ, "ESPER_OTEL_TELEMETRY_DIR": str(scratch), "ESPER_OTEL_RUN_ID": fault}
    environment |= {"OMP_NUM_THREADS": "1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0", "ESPER_OTEL_LINGER": "0"}
    programs = Path(sys.executable).parent
    launcher = [str(programs / "torchrun"), "--standalone", "--nproc-per-node", "3"]
    command = [str(programs / "esper-otel"), "run", *launcher, "-m", "benchmarks.diagnosing.loops"]
    with (scratch / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, fault, "--seconds", "86400", "--on-signal", *options],
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
            wait(lambda: is_free(scratch / fault / "relay" / LOCK) is not False, "the end of the relay")


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


def named(fault: str, before_s: float) -> Named:
    """Inject ``fault`` into a job that trained healthily for ``before_s``, and wait until its rank is named."""
    kind, number = ("rank_stopped", signal.SIGSTOP) if fault == STOPPED else ("straggler", signal.SIGUSR2)
    with tempfile.TemporaryDirectory() as scratch, job(HEALTHY if fault == STOPPED else fault, Path(scratch)) as run:
        time.sleep(before_s)
        before = len(findings(run))
        owner = owner_of(run, RANK)
        assert owner is not None
        assert owner.pid is not None
        os.kill(owner.pid, number)
        began = time.monotonic()
        found: list[Finding] = []
        longest_s = 0.0

        def is_named() -> bool:
            nonlocal longest_s
            asked = time.monotonic()
            found[:] = [each for each in findings(run) if each.kind == kind and each.who.get("rank") == str(RANK)]
            longest_s = max(longest_s, time.monotonic() - asked)
            return bool(found) and (fault != STOPPED or bool(found[0].stack))

        wait(is_named, f"{kind} of {fault}")
        return Named(fault, found[0], time.monotonic() - began, longest_s, before)


def healthy(seconds: float) -> Healthy:
    """Ask a healthy job for so long."""
    asked, asked_whole, found = 0, 0, dict[str, str]()
    with tempfile.TemporaryDirectory() as scratch, job(HEALTHY, Path(scratch), *SLOW_STEPS) as run:
        (Path(scratch) / "asked").mkdir()
        live = LiveDiagnosis(run, Path(scratch) / "asked")
        began = time.monotonic()
        whole_s = began + WHOLE_EVERY_S
        while (now := time.monotonic()) < began + seconds:
            asked += 1
            found |= _bad(live.findings()["findings"])
            if now > whole_s:
                whole_s = now + WHOLE_EVERY_S
                asked_whole += 1
                found |= {each.kind: each.sentence for each in findings(run)}
            time.sleep(ASKED_EVERY_S)
        live.close()
        return Healthy(time.monotonic() - began, asked, asked_whole, found)


def _bad(found: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {each["kind"]: each["sentence"] for each in found if each["severity"] != Grade.INFO.value}


def table(faults: list[Named], well: Healthy | None, before_s: float) -> str:
    """Times of the faults and findings of the healthy job, as Markdown."""
    head = ("fault of rank 1", "named after, s", "limit, s", "longest question, s", "step, ms", "finding")
    rows = [f"| {' | '.join(head)} |", "|---|---|---|---|---|---|"]
    for each in faults:
        finding = each.finding
        stack = f" Stack of {len(finding.stack)} frames." if finding.stack else ""
        rows.append(
            f"| {each.fault} | {each.took_s:.1f} | {each.limit_s:g} | {each.asked_s:.1f} | {each.step} |"
            f" {finding.sentence}{stack} |"
        )
    false = sum(each.before for each in faults)
    rows += ["", f"Findings in the {before_s:g} s before the signal: {false}."]
    if well is not None:
        said = "".join(f" `{kind}`: {sentence}" for kind, sentence in sorted(well.found.items()))
        rows.append(
            f"Healthy job: asked {well.asked} times about its last hour and {well.asked_whole} times about its whole"
            f" log in {well.seconds / 60:.0f} minutes; kinds of findings: {len(well.found)}.{said}"
        )
    rows.append(f"Three ranks, {os.cpu_count()} CPUs, load at the end {os.getloadavg()[0]:.1f}.")
    return "\n".join(rows)


def main() -> None:
    """Measure, print or write, and end with status 1 if a limit is missed or a finding is false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", nargs="*", default=[*SLOW, STOPPED], help=f"default: {', '.join((*SLOW, STOPPED))}")
    parser.add_argument("--before", type=float, default=60.0, metavar="S", help="healthy time before a fault")
    parser.add_argument("--healthy", type=float, default=600.0, metavar="S", help="time of a healthy job, 0 for none")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    faults = []
    for fault in options.fault:
        faults.append(named(fault, options.before))
        print(table(faults[-1:], None, options.before), flush=True)
    well = healthy(options.healthy) if options.healthy else None
    text = table(faults, well, options.before)
    print(text)
    if options.write is not None:
        written_into(options.write, BEGIN, text, END)
    is_missed = any(each.took_s > each.limit_s or each.before for each in faults)
    raise SystemExit(is_missed or (well is not None and bool(well.found)))


if __name__ == "__main__":
    main()
