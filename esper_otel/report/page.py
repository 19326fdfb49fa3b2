"""The page: one file with everything, whose policy forbids the browser any network access.

Everything that comes from a log is text for Jinja2, which escapes it, or part of a figure, where
:mod:`esper_otel.report.chart` does.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # Plotly ships no types

from esper_otel.diagnosis.subject import VIEWS as OF_DIAGNOSIS
from esper_otel.log.opening import written_whole
from esper_otel.report import tables
from esper_otel.report.chart import Chart
from esper_otel.report.findings import ANOMALIES, LOST, anchor_of, diagnosis_of, shown
from esper_otel.report.header import header_of
from esper_otel.report.infrastructure_chart import infrastructure_chart
from esper_otel.report.outcome_charts import outcome_charts, totals_of
from esper_otel.report.own_numbers import own_numbers_chart
from esper_otel.report.policy_charts import policy_charts
from esper_otel.report.scales import with_same_scales
from esper_otel.report.source import MAX_ARMS, OF_OWN_EVENTS, VIEWS, Arm, Connection, arms_of
from esper_otel.report.swimlane import swimlane
from esper_otel.report.training_chart import training_chart
from esper_otel.report.updates import updates_of
from esper_otel.report.verdict import agreeing, verdict_of
from esper_otel.sql import connect

_VIEWS: Final = tuple(dict.fromkeys((*VIEWS, *OF_DIAGNOSIS)))
SECTIONS: Final = ("Policy", "Training", "Infrastructure", "Seeds", "Outcomes")


class Figure(msgspec.Struct, frozen=True):
    """One chart of all arms, side by side."""

    title: str
    about: str
    charts: list[Chart]


class Section(msgspec.Struct, frozen=True):
    """A part of the page; one without any measured chart is folded, behind the others."""

    title: str
    figures: list[Figure]
    is_measured: bool


def write_report(
    run: str | PathLike[str], out: str | PathLike[str], tell: Callable[[str], object] = lambda _: None
) -> None:
    """Write the report of ``run`` to the file ``out``; a reader sees the old file or the new one.

    Args:
        run: a run directory, a log file (also ``.gz``, ``.zst``), a telemetry directory or a directory that
            ``compact`` made. It is only read.
        out: where the page goes.
        tell: called with a sentence for people where the log or ``run.json`` cannot be read.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``, or no directory to write to.
        ValueError: the Parquet files of the run are invalid.
        OSError: the page cannot be written.
    """
    page = report(Path(run), tell)
    with written_whole(Path(out)) as file:
        file.write(page.encode("utf-8", "replace"))


def report(run: Path, tell: Callable[[str], object] = lambda _: None) -> str:
    """The page as text; ``tell`` as for :func:`write_report`.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``.
        ValueError: the Parquet files of the run are invalid.
    """
    with connect([run], views=_VIEWS, tell=tell) as connection:
        if not connection.execute("SELECT 1 FROM event_declared LIMIT 1").fetchall():
            return _page(_content(connection, run, tell))
    with connect([run], views=(*_VIEWS, *OF_OWN_EVENTS)) as connection:
        return _page(_content(connection, run, tell))


def _content(connection: Connection, run: Path, tell: Callable[[str], object]) -> dict[str, Any]:
    arms = arms_of(connection)
    header = header_of(connection, run, tell)
    found, total = tables.anomalies(connection)
    sections = _sections(connection, arms[:MAX_ARMS])
    diagnosis = diagnosis_of(connection, run, {arm.run_id for arm in arms})
    return {
        "header": header,
        "verdict": agreeing(verdict_of(connection, header.outcome), diagnosis),
        "totals": [totals_of(connection, arm) for arm in arms],
        "diagnosis": diagnosis,
        "findings": shown(diagnosis, _measured(sections)) if diagnosis else [],
        "sections": sections,
        "anchor": anchor_of,
        "arms_left_out": max(len(arms) - MAX_ARMS, 0),
        "anomalies": found,
        "anomaly_count": total,
        "configuration": tables.configuration(connection),
        "losses": tables.losses(connection),
    }


def _sections(connection: Connection, arms: list[Arm]) -> list[Section]:
    by_arm = [_charts(connection, arm) for arm in arms or [Arm("", "")]]
    sections = []
    for title in SECTIONS:
        found = [_figure(list(charts)) for charts in zip(*(charts[title] for charts in by_arm), strict=True)]
        is_measured = any(chart.figure for figure in found for chart in figure.charts)
        sections.append(Section(title, found, is_measured))
    return sorted(sections, key=lambda section: not section.is_measured)


def _measured(sections: list[Section]) -> set[str]:
    """Titles of what the page shows: its tables, and charts that have a figure."""
    charts = (figure for section in sections for figure in section.figures)
    return {ANOMALIES, LOST} | {figure.title for figure in charts if any(chart.figure for chart in figure.charts)}


def _charts(connection: Connection, arm: Arm) -> dict[str, list[Chart]]:
    updates = updates_of(connection, arm)
    charts = {
        "Policy": policy_charts(updates),
        "Training": [training_chart(connection, arm), own_numbers_chart(connection, arm)],
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
    return rendered(files("esper_otel.report") / "page.html.jinja", content)


def rendered(template: Traversable, content: dict[str, Any]) -> str:
    """The page that ``template`` makes of ``content``, with the style and the scripts of every page."""
    here = files("esper_otel.report")
    plotly, script = get_plotlyjs(), (here / "page.js").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    # the three texts are the project's and Plotly's own; a script's must stay as it is for its hash to be right
    return environment.from_string(template.read_text("utf-8")).render(
        content,
        policy=_policy(plotly, script),
        style=Markup((here / "page.css").read_text("utf-8")),
        plotly=Markup(plotly),
        script=Markup(script),
        version=version("esper-otel"),
    )


def _policy(*scripts: str) -> str:
    """Content policy of the page: its own scripts and styles, and charts saved as pictures (blobs)."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )
