"""A row of the table of programs: one program without us, and recorded while a real Prometheus scrapes its relay."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from grafana.boards import BOARDS
from tests.automatic.program_runs import BIN, PROGRAMS, Ran, ran
from tests.frameworks.campaign import HERE, PACKAGES
from tests.frameworks.ledger import Row, Shown
from tests.grafana.scraped_run import ScrapedRun
from tests.grafana.substituted import Target, targets
from tests.prometheus.real_prometheus import prometheus_on
from tests.relay.processes import manifest
from tests.waiting import PATIENCE_S

RUN_S = 15.0
"""How long the updates of a recorded run take together: so that it is scraped while it goes on."""

OF_TRAINING = ("esper-tolaria", "esper-tamiyo")
"""Dashboards whose panels are about training alone: what they ask for must be theirs."""

OF_EVERY_RUN = ("esper_run_", "esper_heartbeat", "esper_relay_", "esper_log_")
"""Metrics that every run has, which panels ask for beside their own."""


class Case(msgspec.Struct, frozen=True):
    """A program.

    Attributes:
        program: its file.
        options: its arguments after the file for its own account.
        updates: about how many it makes on a rank.
        torchrun: processes that torchrun starts of it; 0 where it starts its own.
    """

    program: Path
    options: tuple[str, ...] = ()
    updates: int = 16
    torchrun: int = 0


def of_framework(name: str, *options: str, updates: int = 16) -> Case:
    return Case(HERE / "programs" / name, options, updates)


def of_torch(name: str, *options: str, updates: int = 12, torchrun: int = 0) -> Case:
    return Case(PROGRAMS / name, options, updates, torchrun)


def row_of(name: str, case: Case, directory: Path) -> Row:
    """Run the program twice and look at everything that came of it."""
    path = os.pathsep.join([str(HERE / "outside"), str(PACKAGES)])
    plain = _ran(case, "", directory / "plain", PYTHONPATH=path)
    telemetry = directory / "recorded" / "telemetry"
    telemetry.mkdir(parents=True)  # Prometheus watches directories that exist when it starts
    since = time.time()
    with prometheus_on(telemetry / "prometheus_targets.json", directory) as prometheus:
        variables = {"ESPER_OTEL_RELAY": "1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0", "ESPER_OTEL_LINGER": "300"}
        gate = directory / "scraped"
        variables |= {"PYTHONPATH": path, "GATE": str(gate), "PACE_S": str(RUN_S / case.updates)}
        with prometheus.opening(gate):
            run = _ran(case, "run", directory / "recorded", **variables)
        seconds = time.time() - since
        latest = (telemetry / "latest").resolve()
        try:
            prometheus.wait_for(f'esper_run_ends_total{{instance="{latest.name}"}}')
            time.sleep(2.0)  # two more scrapes
            boards = _boards(ScrapedRun(prometheus, "autolog", latest.name, since, time.time()))
        finally:
            with suppress(ProcessLookupError):
                os.kill(manifest(latest)["relay"]["pid"], signal.SIGTERM)
    charts, all_charts = _charts(latest, directory / "report.html")
    found = [_compared(own["norms"], run.updates(rank)) for rank, own in enumerate(run.own)]
    return Row(
        name=name,
        program=case.program.name,
        ranks=len(run.lines),
        seconds=seconds,
        lines_changed=sum("esper" in line for line in case.program.read_text().splitlines()),
        made=sum(made for made, _, _, _ in found),
        seen=sum(seen for _, seen, _, _ in found),
        with_norm=sum(with_norm for _, _, with_norm, _ in found),
        difference=max(difference for _, _, _, difference in found),
        weights_equal=[_digest(own) for own in run.own] == [_digest(own) for own in plain.own],
        boards=boards,
        charts=charts,
        all_charts=all_charts,
        exceptions=(run.status != 0) + run.error.count("Traceback") - plain.error.count("Traceback"),
        faults=[f"{one['sensor']} {one['reason']}" for rank in range(len(run.lines)) for one in _faults(run, rank)],
        outcome=run.run.get("status", "none"),
    )


def _ran(case: Case, door: str, directory: Path, **variables: str) -> Ran:
    done = ran(
        door,
        directory,
        str(case.program),
        *case.options,
        ranks=case.torchrun or 1,
        HF_HUB_OFFLINE="1",
        **variables,
    )
    assert done.status == 0, done.error
    return done


def _faults(run: Ran, rank: int) -> list[dict[str, Any]]:
    return run.of("SENSOR_FAULT", rank)


def _digest(own: dict[str, Any]) -> str:
    """Of the weights: JSON keeps every bit of a finite number."""
    return hashlib.sha256(json.dumps(own["weights"]).encode()).hexdigest()


def _compared(
    norms: list[float] | dict[str, list[float]], updates: list[dict[str, Any]]
) -> tuple[int, int, int, float]:
    """Updates made, seen and with a norm, and the largest relative difference from the program's own account."""
    accounts = norms.items() if isinstance(norms, dict) else [("", norms)]
    made = with_norm = 0
    differences = [0.0]
    for model, own in accounts:
        found = [update.get("pre_clip_grad_norm") for update in updates if not model or update["model"] == model]
        measured = [norm for norm in found if isinstance(norm, float)]
        made, with_norm = made + len(own), with_norm + len(measured)
        same_length = len(measured) == len(own)
        differences += [abs(a - b) / abs(b) for a, b in zip(measured, own, strict=True)] if same_length else [1.0]
    return made, len(updates), with_norm, max(differences)


def _boards(run: ScrapedRun) -> list[Shown]:
    """Panels of each dashboard with data of the run, and empty ones although the run has their metric."""
    selector = f'{{instance="{run.instance}"}}'
    names = set(run.prometheus.label_values("__name__", selector, run.since))
    asked = targets("prometheus")
    full = {(one.uid, one.panel) for one in asked if run.series(one)}
    expected = {(one.uid, one.panel) for one in asked if one.uid in OF_TRAINING and _of_it(one) & names}
    shown = []
    for board in BOARDS:
        panels = {panel for uid, panel in {(one.uid, one.panel) for one in asked} if uid == board.uid}
        with_data = {panel for uid, panel in full if uid == board.uid}
        silent = sorted(panel for uid, panel in expected - full if uid == board.uid)
        shown.append(Shown(board.title, len(with_data), len(panels), silent))
    return shown


def _of_it(target: Target) -> set[str]:
    """Metrics that a query is about."""
    names = re.findall(r"\b[a-z][a-z0-9]*_\w+", target.text)
    return {name for name in names if not name.startswith(OF_EVERY_RUN)}


def _charts(run: Path, page: Path) -> tuple[list[str], int]:
    """Titles of the charts that the report draws, and how many it could."""
    command = [BIN / "esper-otel", "report", run, "-o", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    articles = re.findall(r"<article\b.*?</article>", page.read_text("utf-8"), re.DOTALL)
    drawn = [article for article in articles if "data-figure=" in article]
    return [found[1] for one in drawn if (found := re.search(r"<h3[^>]*>(.*?)</h3>", one))], len(articles)
