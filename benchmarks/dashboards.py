"""Cost of the dashboards in Prometheus for an hour of a hundred environments: docs/evidence/dashboards-cost.md.

    python -m benchmarks.dashboards [--envs 100] [--repeats 3] [--prometheus PATH] [--promtool PATH] [--print]

Every query of every panel is asked as Grafana asks it, for the last hour of a run (a point every 15 s, or one value),
of a Prometheus on this machine that holds that run alone. Takes some minutes and a GB in the temporary directory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.dashboarding.history import History, make_history
from benchmarks.dashboarding.queries import Cost, Query, Server, queries_of, server_with
from benchmarks.table.machine import load
from deploy.stack.program import ROOT, TOOLS

PAGE: Final = ROOT / "docs" / "evidence" / "dashboards-cost.md"
SLOWEST: Final = 10


def measure(server: Server, queries: list[Query], repeats: int) -> tuple[list[Cost], dict[str, int]]:
    """The cost of every query, and the series that each dashboard reads."""
    costs = [server.cost(query, repeats) for query in queries]
    uids = dict.fromkeys(query.uid for query in queries)
    return costs, {uid: server.touched([query for query in queries if query.uid == uid]) for uid in uids}


def page(history: History, costs: list[Cost], series: dict[str, int], how: str) -> str:
    """The whole page; ``how`` describes the measurement of the times."""
    every = sorted(costs, key=lambda cost: -cost.took_s)
    has = f"{history.scraped.series:,} series, {history.scraped.samples:,} samples"
    lines = [
        "# What the dashboards cost",
        "",
        "Written by `python -m benchmarks.dashboards`.",
        "",
        f"A run with {history.envs} environments, an hour long and scraped every 15 s: {has}.",
        "Every query of every panel as Grafana sends it when one run and everything else is chosen and the last hour",
        "is shown: one value, or a point every 15 s.",
        f"Times are medians {how},",
        "warm, one query at a time.",
        "",
        "| dashboard | panels that ask | queries | series read | all, s | median, ms | slowest, ms | its panel |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
        *(_board(uid, costs, touched) for uid, touched in series.items()),
        "",
        f"The slowest {SLOWEST} of {len(costs)} queries:",
        "",
        "| dashboard | panel | ms | series in the answer | asked for |",
        "|---|---|--:|--:|---|",
        *(_query(cost) for cost in every[:SLOWEST]),
    ]
    return "\n".join(lines) + "\n"


def _board(uid: str, costs: list[Cost], touched: int) -> str:
    own = [cost for cost in costs if cost.query.uid == uid]
    slowest = max(own, key=lambda cost: cost.took_s)
    cells = [
        slowest.query.dashboard,
        len({cost.query.panel for cost in own}),
        len(own),
        f"{touched:,}",
        f"{sum(cost.took_s for cost in own):.1f}",
        f"{statistics.median(cost.took_s for cost in own) * 1000:.0f}",
        f"{slowest.took_s * 1000:.0f}",
        slowest.query.panel,
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _query(cost: Cost) -> str:
    how = "one value" if cost.query.instant else "an hour"
    return f"| {cost.query.dashboard} | {cost.query.panel} | {cost.took_s * 1000:.0f} | {cost.answered:,} | {how} |"


def _program(name: str, asked: str | None) -> str:
    found = shutil.which(asked or name, path=os.pathsep.join([str(TOOLS), os.environ.get("PATH", "")]))
    if found is None:
        raise SystemExit(f"{asked or name}: program not found; install it with 'make tools', or use --{name} PATH")
    return found


def _version(prometheus: str) -> str:
    said = subprocess.run([prometheus, "--version"], capture_output=True, text=True, check=True)
    return "Prometheus " + (said.stdout + said.stderr).split("version ")[1].split()[0].removesuffix(",")


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prometheus", help="use this program, not the one on the PATH")
    parser.add_argument("--promtool", help="use this program, not the one on the PATH")
    parser.add_argument("--print", action="store_true", help="print the page, do not write it")
    asked = parser.parse_args()
    prometheus, promtool = _program("prometheus", asked.prometheus), _program("promtool", asked.promtool)
    load_before = load()
    with tempfile.TemporaryDirectory(prefix="esper-dashboards-") as temporary:
        history = make_history(Path(temporary), asked.envs)
        with server_with(history, Path(temporary), prometheus, promtool) as server:
            costs, series = measure(server, queries_of(history.run_id), asked.repeats)
    where = f"{os.cpu_count()} cores with a load of {load_before:.1f} before"
    how = f"of {asked.repeats} in {_version(prometheus)} on {where}"
    text = page(history, costs, series, how)
    if asked.print:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
