"""Checks of a change within a minute: format, lint, types, contracts, generated files, and fast tests of what changed.

    python scripts/quick.py [--base REVISION]

Tests are those of the rooms that belong to the changed files: changed since the branch left ``main``, not committed,
or not yet known to git. Changed test files run first.
Rooms that start whole systems are left to ``make test``. Exit status 1: something failed.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BIN: Final = Path(sys.executable).parent
BUDGET_S: Final = 48.0
"""Less than a minute: ending the tests takes some seconds."""

LEAST_TESTS_S: Final = 10.0
NO_TESTS: Final = 5
"""Status of pytest where a room has no tests but those that ran first."""

CHECKS: Final = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("python", "scripts/generate.py", "--check"),
    ("lint-imports",),
    ("mypy",),
)
SLOW: Final = frozenset({"benchmarks", "collector", "end_to_end", "faults", "k8s", "stack"})
"""Rooms that start clusters, stacks and training runs."""

ROOMS: Final = {
    "README.md": ("docs",),
    "CONTRIBUTING.md": ("docs",),
    "docs": ("docs",),
    "scripts/reference": ("docs",),
    "esper_otel/events": ("events", "signals", "docs"),
    "esper_otel/signals": ("signals", "docs"),
    "esper_otel/alerts": ("alerts",),
    "esper_otel/runtime": ("runtime", "docs"),
    "esper_otel/esper_lite": ("upstream", "esper_lite"),
    "esper_otel/relay": ("relay", "nvml", "wandb", "prometheus"),
    "esper_otel/sql": ("sql", "docs"),
    "esper_otel/mcp_server": ("mcp",),
    "esper_otel/cli": ("docs",),
    "deploy/prometheus": ("alerts",),
    "deploy/alertmanager": ("alerts",),
    "grafana": ("grafana",),
    "trainer": ("trainer",),
}
"""Rooms of tests by the beginning of a path. ``esper_otel/NAME`` and ``tests/NAME`` belong to the room NAME as well."""


def changed(base: str | None) -> list[str]:
    """Changed and new files, relative to the repository."""
    since = base or _branched_off()
    listed = _git("diff", "--name-only", since) + _git("ls-files", "--others", "--exclude-standard")
    return sorted(set(listed.splitlines()))


def rooms(paths: Iterable[str]) -> list[str]:
    """Directories of tests that belong to ``paths``, those alone that exist and are fast."""
    names: set[str] = set()
    for path in paths:
        names.update(*(found for place, found in ROOMS.items() if f"{path}/".startswith(f"{place}/")))
        top, *rest = Path(path).parts
        if rest and top in {"tests", "esper_otel"}:
            names.add(rest[0])
    return [f"tests/{name}" for name in sorted(names - SLOW) if (ROOT / "tests" / name).is_dir()]


def test_files(paths: Iterable[str]) -> list[str]:
    """Changed and new test files of fast rooms: they run before the rest of the rooms."""
    found = (path for path in paths if path.startswith("tests/") and Path(path).match("test_*.py"))
    return [path for path in found if Path(path).parts[1] not in SLOW and (ROOT / path).is_file()]


def main() -> int:
    """Run everything and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="compare with this revision, not with where the branch left main")
    base = parser.parse_args().base
    started = time.monotonic()
    failed = [" ".join(check) for check in CHECKS if _run(*check)]
    paths = changed(base)
    chosen, first = rooms(paths), test_files(paths)
    for tests in (first, [*chosen, *(f"--ignore={file}" for file in first)] if chosen else []):
        left_s = max(BUDGET_S - (time.monotonic() - started), LEAST_TESTS_S)
        if tests and _test(tests, left_s):
            failed.append(f"pytest {' '.join(tests)}")
            break
    print(f"quick: {time.monotonic() - started:.0f} s, tests of {', '.join(chosen) or 'nothing'}; 'make test' runs all")
    if failed:
        print("quick: failed: " + "; ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def _test(chosen: list[str], left_s: float) -> bool:
    """Return True if a test failed, or none ran, within ``left_s``; the first failure ends the tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "--maxfail", "1", *chosen]
    again = f"python {' '.join(command[1:])}"
    print(f"$ {again}", flush=True)
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as tests,
    ):
        is_over = False
        try:
            tests.wait(left_s)
        except subprocess.TimeoutExpired:
            is_over = True
            tests.send_signal(signal.SIGINT)
            tests.wait()
        output.seek(0)
        said = output.read()
    if not is_over or re.search(r"\d+ (failed|error)", said):
        print(said, flush=True)
        return tests.returncode not in (0, NO_TESTS)
    ran = sum(int(count) for count in re.findall(r"(\d+) (?:passed|skipped)", said))
    print(f"quick: {ran} tests ran in the time left; run '{again}'", flush=True)
    return ran == 0


def _run(program: str, *arguments: str) -> int:
    print(f"$ {program} {' '.join(arguments)}", flush=True)
    return subprocess.run([str(BIN / program), *arguments], cwd=ROOT, check=False).returncode


def _branched_off() -> str:
    found = subprocess.run(["git", "merge-base", "HEAD", "main"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "HEAD"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
