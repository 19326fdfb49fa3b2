"""Cost of the dashboards in Prometheus: docs/evidence/dashboards-cost.md.

    python -m benchmarks.dashboards PART [--envs 100] [--runs 100] [--minutes 15] [--prometheus PATH] [--print]

``requests`` counts what a refresh asks. ``hour`` asks every query of every panel as Grafana asks it, for the last hour
of a run with a hundred environments (a point every 15 s, or one value), of a Prometheus on this machine that holds that
run alone. ``runs`` does the same while a Prometheus scrapes a hundred runs of eight ranks. The last two take some
minutes and some GB of memory and of the temporary directory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.dashboarding import many_runs, requests
from benchmarks.dashboarding.history import History, make_history
from benchmarks.dashboarding.queries import Cost, Query, Server, queries_of, server_with
from benchmarks.table.machine import load
from benchmarks.table.parts import give
from deploy.stack.program import ROOT, TOOLS

PAGE: Final = ROOT / "docs" / "evidence" / "dashboards-cost.md"
SLOWEST: Final = 10


def measure(server: Server, queries: list[Query], repeats: int) -> tuple[list[Cost], dict[str, int]]:
    """The cost of every query, and the series that each dashboard reads."""
    costs = [server.cost(query, repeats) for query in queries]
    uids = dict.fromkeys(query.uid for query in queries)
    return costs, {uid: server.touched([query for query in queries if query.uid == uid]) for uid in uids}


def hour_page(history: History, costs: list[Cost], series: dict[str, int], how: str) -> str:
    """The part about one large run; ``how`` describes the measurement of the times."""
    has = f"{history.scraped.series:,} series, {history.scraped.samples:,} samples"
    lines = [
        f"A run with {history.envs} environments, an hour long and scraped every 15 s: {has}.",
        "Every query of every panel as Grafana sends it when one run and everything else is chosen and the last hour",
        "is shown: one value, or a point every 15 s.",
        f"Times are medians {how},",
        "warm, one query at a time.",
    ]
    return "\n".join([*lines, "", *_tables(costs, series)]) + "\n"


def many_page(server: Server, runs: int, minutes: float, costs: list[Cost], series: dict[str, int], how: str) -> str:
    """The part about many runs."""
    head = server.number('count({instance=~"run-.*"})')
    lines = [
        f"{runs} runs of {many_runs.RANKS} ranks and {many_runs.ENVS} environments; Prometheus has scraped each",
        f"every {many_runs.SCRAPE_S} s for {minutes:g} minutes: {head:,.0f} series.",
        "The boards of one run show one of them; the board of runs lists all and compares all.",
        f"Times are medians {how},",
        "warm, one query at a time, while scraping and rules go on.",
    ]
    return "\n".join([*lines, "", *_tables(costs, series)]) + "\n"


def _tables(costs: list[Cost], series: dict[str, int]) -> list[str]:
    every = sorted(costs, key=lambda cost: -cost.took_s)
    return [
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


def _hour(asked: argparse.Namespace, programs: tuple[str, str], directory: Path) -> str:
    history = make_history(directory, asked.envs)
    with server_with(history, directory, *programs) as server:
        costs, series = measure(server, queries_of(history.run_id), asked.repeats)
    return hour_page(history, costs, series, _how(asked, programs))


def _runs(asked: argparse.Namespace, programs: tuple[str, str], directory: Path) -> str:
    pages = many_runs.pages(many_runs.trained(directory / "trained"), directory)
    with (
        many_runs.exporter(pages) as address,
        many_runs.scraping(address, asked.runs, directory, programs[0], 60 * asked.minutes) as server,
    ):
        costs, series = measure(server, queries_of(many_runs.CHOSEN, runs=".+"), asked.repeats)
        return many_page(server, asked.runs, asked.minutes, costs, series, _how(asked, programs))


def _requests(*_: object) -> str:
    return "\n".join(requests.table()) + "\n"


PARTS: Final[dict[str, Callable[[argparse.Namespace, tuple[str, str], Path], str]]] = {
    "requests": _requests,
    "hour": _hour,
    "runs": _runs,
}


def _how(asked: argparse.Namespace, programs: tuple[str, str]) -> str:
    where = f"{os.cpu_count()} cores with a load of {load():.1f}"
    return f"of {asked.repeats} in {_version(programs[0])} on {where}"


def main() -> None:
    """Measure, and write one part of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--envs", type=int, default=100)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prometheus", help="use this program, not the one on the PATH")
    parser.add_argument("--promtool", help="use this program, not the one on the PATH")
    parser.add_argument("--print", action="store_true", help="print the part, do not write it")
    asked = parser.parse_args()
    programs = _program("prometheus", asked.prometheus), _program("promtool", asked.promtool)
    with tempfile.TemporaryDirectory(prefix="esper-dashboards-") as temporary:
        text = PARTS[asked.part](asked, programs, Path(temporary))
    give(asked.part, "benchmarks/dashboards.py", text, None if asked.print else PAGE)


if __name__ == "__main__":
    main()
