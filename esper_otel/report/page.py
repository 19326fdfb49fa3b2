"""The page: everything in one file, and a policy in it that forbids the browser any network.

Everything that comes from a log is text for Jinja2, which escapes it, or part of a figure, where
:mod:`esper_otel.report.chart` does.
"""

from __future__ import annotations

import base64
import hashlib
import os
from importlib.metadata import version
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # Plotly ships no types

from esper_otel.log.opening import create
from esper_otel.report import tables
from esper_otel.report.chart import Chart
from esper_otel.report.header import header_of
from esper_otel.report.infrastructure_chart import infrastructure_chart
from esper_otel.report.outcome_charts import outcome_charts, totals_of
from esper_otel.report.policy_charts import policy_charts
from esper_otel.report.scales import with_same_scales
from esper_otel.report.source import MAX_ARMS, VIEWS, Arm, Connection, arms_of
from esper_otel.report.swimlane import swimlane
from esper_otel.report.updates import updates_of
from esper_otel.report.verdict import verdict_of
from esper_otel.sql import connect

SECTIONS: Final = ("Policy", "Infrastructure", "Seeds", "Outcomes")


class Figure(msgspec.Struct, frozen=True):
    """One chart of all arms, side by side."""

    title: str
    about: str
    charts: list[Chart]


def write_report(run: str | PathLike[str], out: str | PathLike[str]) -> None:
    """Write the report of ``run`` to the file ``out``; a reader sees the old file or the new one.

    Args:
        run: a run directory, a log file (also ``.gz``, ``.zst``), a telemetry directory or a directory that
            ``compact`` made. It is only read.
        out: where the page goes.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``, or no directory to write to.
        ValueError: ``run.json`` or the Parquet files of the run are not what they should be.
        OSError: the page cannot be written.
    """
    target = Path(out)
    draft = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        page = report(Path(run))
        with create(draft) as file:
            file.write(page.encode("utf-8", "replace"))
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def report(run: Path) -> str:
    """The page as text.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``.
        ValueError: ``run.json`` or the Parquet files of the run are not what they should be.
    """
    with connect([run], views=VIEWS) as connection:
        return _page(_content(connection, run))


def _content(connection: Connection, run: Path) -> dict[str, Any]:
    arms = arms_of(connection)
    header = header_of(connection, run)
    found, total = tables.anomalies(connection)
    return {
        "header": header,
        "verdict": verdict_of(connection, header.outcome),
        "totals": [totals_of(connection, arm) for arm in arms],
        "sections": _sections(connection, arms[:MAX_ARMS]),
        "arms_left_out": max(len(arms) - MAX_ARMS, 0),
        "anomalies": found,
        "anomaly_count": total,
        "configuration": tables.configuration(connection),
        "losses": tables.losses(connection),
        "version": version("esper-otel"),
    }


def _sections(connection: Connection, arms: list[Arm]) -> list[tuple[str, list[Figure]]]:
    by_arm = [_charts(connection, arm) for arm in arms or [Arm("", "")]]
    return [
        (section, [_figure([charts[section][i] for charts in by_arm]) for i in range(len(by_arm[0][section]))])
        for section in SECTIONS
    ]


def _charts(connection: Connection, arm: Arm) -> dict[str, list[Chart]]:
    updates = updates_of(connection, arm)
    charts = {
        "Policy": policy_charts(updates),
        "Infrastructure": [infrastructure_chart(connection, arm, updates)],
        "Seeds": [swimlane(connection, arm)],
        "Outcomes": outcome_charts(connection, arm),
    }
    return {
        section: [msgspec.structs.replace(chart, arm=arm.label) for chart in found] for section, found in charts.items()
    }


def _figure(charts: list[Chart]) -> Figure:
    return Figure(charts[0].title, charts[0].about, with_same_scales(charts))


def _page(content: dict[str, Any]) -> str:
    here = files("esper_otel.report")
    plotly, script = get_plotlyjs(), (here / "page.js").read_text("utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (here / "page.html.jinja").read_text("utf-8")
    )
    # the three texts are the project's and Plotly's own; a script's must stay as it is for its hash to be right
    return template.render(
        content,
        policy=_policy(plotly, script),
        style=Markup((here / "page.css").read_text("utf-8")),
        plotly=Markup(plotly),
        script=Markup(script),
    )


def _policy(*scripts: str) -> str:
    """What the page may do: run these scripts and style itself, nothing else; blobs are charts saved as pictures."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )
