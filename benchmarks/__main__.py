"""Every benchmark against the alternatives, one after the other; the figures as JSON, and two of them as a page.

    python -m benchmarks [--quick] --out out/bench-1.json
    python -m benchmarks --merge out/bench-1.json out/bench-2.json --page docs/evidence/benchmarks.md

The machine should have nothing else to do; its load before and after stands on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import emit_costs, footprint, lag, relay, slowdown, slowdown_parts
from benchmarks.alternatives.sink import sink
from benchmarks.relaying import growth, stages
from benchmarks.table.machine import load, machine
from benchmarks.table.page import page


class Size(msgspec.Struct, frozen=True):
    """Amount of measurement: blocks of the alternatives, ours and its parts, events, repeats, samples of the lag."""

    quads: int
    ours: int
    parts: int
    events: int
    long: int
    repeats: int
    samples: int


WHOLE: Final = Size(quads=4, ours=14, parts=8, events=40_000, long=10_000_000, repeats=3, samples=150)
QUICK: Final = Size(quads=1, ours=2, parts=1, events=5_000, long=20_000, repeats=1, samples=5)


def run(size: Size) -> dict[str, Any]:
    """All figures."""
    started, load_before = time.time(), load()
    parts: dict[str, Callable[[], Any]] = {
        "emit": lambda: emit_costs.measure(size.events),
        "relay": lambda: _relay_costs(size),
        "stages": lambda: stages.measure(size.events // 6, size.repeats + 2),
        "growth": lambda: growth.growth(size.events, size.long),
        "lag": lambda: lag.measure(size.samples),
        "footprint": lambda: footprint.measure(size.repeats),
        "slowdown": lambda: slowdown.measure(size.quads, size.ours),
        "parts": lambda: slowdown_parts.measure(size.parts),
    }
    figures: dict[str, Any] = {}
    for name, part in parts.items():
        print(f"{time.time() - started:6.0f} s: {name}", file=sys.stderr, flush=True)
        figures[name] = _apart(part)
    taken = {"date": time.strftime("%Y-%m-%d %H:%M", time.gmtime(started)), "minutes": (time.time() - started) / 60}
    return {"machine": machine(), "load": [load_before, load()], "size": msgspec.to_builtins(size), **taken, **figures}


def _apart(part: Callable[[], Any]) -> Any:
    """Result of ``part``, measured in its own process so that it cannot slow down the next part."""
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory) / "answer.json"
        child = os.fork()
        if child == 0:
            try:
                answer.write_text(json.dumps(part()))
                os._exit(0)
            except BaseException as error:  # the parent says it
                answer.write_text(json.dumps({"failed": f"{type(error).__name__}: {error}"}))
                os._exit(1)
        _, status = os.waitpid(child, 0)
        found = json.loads(answer.read_text())
    if status:
        raise SystemExit(found["failed"])
    return found


def _relay_costs(size: Size) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as temporary, sink() as endpoint:
        run_dir, empty = Path(temporary) / "run", Path(temporary) / "empty"
        relay.write_log(empty, 0)
        lines = relay.write_log(run_dir, size.events)
        rows = []
        for mode in relay.MODES:
            taken = [
                (relay.cpu_s(run_dir, endpoint, mode) - relay.cpu_s(empty, endpoint, mode)) / lines * 1e6
                for _ in range(size.repeats)
            ]
            rows.append({"exported": mode, "cpu_us": sorted(taken)[len(taken) // 2], "all_us": taken})
        return rows


def main() -> None:
    """Measure, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few samples of everything, for a try")
    parser.add_argument("--quads", type=int, help="blocks of each alternative, by fours")
    parser.add_argument("--ours", type=int, help="the same for this project's rows")
    parser.add_argument("--out", type=Path, help="file for the figures")
    parser.add_argument("--merge", type=Path, nargs="+", help="files of figures: the page's columns")
    parser.add_argument("--page", type=Path, default=Path("docs/evidence/benchmarks.md"), help="page to write")
    arguments = parser.parse_args()
    if arguments.merge:
        text = page([json.loads(each.read_text()) for each in arguments.merge])
        arguments.page.write_text(text)
        return
    if arguments.out is None:
        parser.error("--out or --merge is needed")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    size = QUICK if arguments.quick else WHOLE
    size = msgspec.structs.replace(size, quads=arguments.quads or size.quads, ours=arguments.ours or size.ours)
    arguments.out.write_text(json.dumps(run(size), indent=1))


if __name__ == "__main__":
    main()
