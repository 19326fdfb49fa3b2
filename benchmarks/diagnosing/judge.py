"""Judge the labelled runs: ``python -m benchmarks.diagnosing.judge out/diagnoses [--half tuning] [--write PAGE]``.

Rules may be fixed on the tuning half alone (even seeds); the page has the figures of the other.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.diagnosing.cases import HEALTHY, expected
from benchmarks.diagnosing.make import LABEL
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Finding, Grade

BEGIN: Final = "<!-- diagnoses: written by benchmarks/diagnosing/judge.py -->"
END: Final = "<!-- end of diagnoses -->"
BEGIN_LITE: Final = "<!-- diagnoses of esper-lite: written by benchmarks/diagnosing/judge.py -->"
END_LITE: Final = "<!-- end of diagnoses of esper-lite -->"
LITE: Final = "esper-lite"


class Judged(msgspec.Struct, frozen=True):
    """One run with what was said of it; findings that are only worth knowing are left out."""

    name: str
    producer: str
    fault: str
    seed: int
    findings: list[Finding]

    @property
    def kinds(self) -> list[str]:
        """Kinds of its findings, the worst first."""
        return [finding.kind for finding in self.findings]

    @property
    def is_right(self) -> bool:
        """True if a broken run has a finding that its fault explains, and a healthy one none."""
        if self.fault == HEALTHY:
            return not self.kinds
        return not expected(self.producer, self.fault).isdisjoint(self.kinds)


def judged(directory: Path, seeds: Iterable[int], of_lite: bool = False) -> list[Judged]:
    """The runs below ``directory`` with an even or odd seed, as ``seeds`` says by 0 and 1: esper-lite or the others."""
    wanted = set(seeds)
    found = []
    for label in sorted(directory.glob(f"*/{LABEL}")):
        said = json.loads(label.read_text())
        if said["seed"] % 2 not in wanted or (said["producer"] == LITE) is not of_lite:
            continue
        diagnosis = diagnose(label.parent / "telemetry" / label.parent.name)
        findings = [each for each in diagnosis.findings if each.severity is not Grade.INFO]
        found.append(Judged(label.parent.name, said["producer"], said["fault"], said["seed"], findings))
    return found


def table(runs: list[Judged]) -> str:
    """Recall by fault, and false findings of healthy runs, as Markdown."""
    broken = [run for run in runs if run.fault != HEALTHY]
    healthy = [run for run in runs if run.fault == HEALTHY]
    rows = ["| fault | producer | runs | found | named first | beside it |", "|---|---|---|---|---|---|"]
    for fault, producer in sorted({(run.fault, run.producer) for run in broken}):
        mine = [run for run in broken if (run.fault, run.producer) == (fault, producer)]
        right_kinds = expected(producer, fault)
        first = sum(run.kinds[:1] != [] and run.kinds[0] in right_kinds for run in mine)
        beside = Counter(kind for run in mine for kind in set(run.kinds) - right_kinds)
        said = ", ".join(f"`{kind}`" for kind in sorted(beside)) or "-"
        rows.append(f"| {fault} | {producer} | {len(mine)} | {sum(run.is_right for run in mine)} | {first} | {said} |")
    right = sum(run.is_right for run in broken)
    rows += ["", f"Broken runs: {len(broken)}, found: {right} ({right / max(len(broken), 1):.1%})."]
    rows += [
        "",
        "| healthy runs of | runs | with a critical finding | with a warning | which |",
        "|---|---|---|---|---|",
    ]
    for producer in sorted({run.producer for run in healthy}):
        mine = [run for run in healthy if run.producer == producer]
        critical, warned = (sum(_has(run, grade) for run in mine) for grade in (Grade.CRITICAL, Grade.WARNING))
        which = ", ".join(f"`{kind}` ({run.name})" for run in mine for kind in run.kinds) or "-"
        rows.append(f"| {producer} | {len(mine)} | {critical} | {warned} | {which} |")
    totals = [sum(_has(run, grade) for run in healthy) for grade in (Grade.CRITICAL, Grade.WARNING)]
    rows += ["", f"Healthy runs: {len(healthy)}, with a critical finding: {totals[0]}, with a warning: {totals[1]}."]
    return "\n".join(rows)


def _has(run: Judged, grade: Grade) -> bool:
    return any(finding.severity is grade for finding in run.findings)


def written_into(page: Path, begin: str, text: str, end: str) -> None:
    """Replace what stands between two marks of a page.

    Raises:
        ValueError: the page does not have both.
    """
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise ValueError(f"{page} lacks {begin} or {end}: nothing is written")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--half", choices=("tuning", "reported"), default="reported")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    parser.add_argument("--esper-lite", action="store_true", help="its runs alone; they have a table of their own")
    options = parser.parse_args()
    runs = judged(options.directory, [0] if options.half == "tuning" else [1], options.esper_lite)
    text = table(runs)
    if options.write is None:
        print(text)
        for run in runs:
            if not run.is_right:
                print(run.name, [f"{finding.kind}: {finding.sentence}" for finding in run.findings])
    else:
        begin, end = (BEGIN_LITE, END_LITE) if options.esper_lite else (BEGIN, END)
        written_into(options.write, begin, text, end)


if __name__ == "__main__":
    main()
