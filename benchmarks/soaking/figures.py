"""Samples of the soak, and their plots."""

from __future__ import annotations

import csv
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go  # type: ignore[import-untyped]  # Plotly ships no types
from plotly.subplots import make_subplots  # type: ignore[import-untyped]  # as above

PAGE_BYTES: Final = 4096
CLOCK_TICKS: Final = 100
PANELS: Final = (
    ("Resident memory, MB", ("trainer_mb", "relay_mb")),
    ("Lag, s", ("lag_s",)),
    ("Not delivered yet, MB (the endpoint is away a third of the time)", ("undelivered_mb",)),
    ("Relay's CPU, % of a core", ("relay_cpu",)),
    ("Events lost, rejected or refused", ("lost",)),
)


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def cpu_s(pid: int) -> float:
    """CPU time of a process in s; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def scraped(url: str) -> dict[str, float]:
    """Sum of each metric of a scrape over its series; empty if nobody responds."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return {}
    sums: dict[str, float] = {}
    for name, value in re.findall(r"^([a-z_]+)(?:\{[^\n]*\})? (\S+)$", text, re.MULTILINE):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """The samples as a table."""
    with path.open("w", newline="") as out:
        table = csv.DictWriter(out, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_plots(path: Path, rows: list[dict[str, Any]]) -> None:
    """The samples as one page."""
    figure = make_subplots(rows=len(PANELS), cols=1, shared_xaxes=True, subplot_titles=[title for title, _ in PANELS])
    minutes = [row["minute"] for row in rows]
    for number, (_, columns) in enumerate(PANELS, start=1):
        for column in columns:
            figure.add_trace(go.Scatter(x=minutes, y=[row[column] for row in rows], name=column), row=number, col=1)
        figure.update_yaxes(rangemode="tozero", row=number, col=1)
    figure.update_xaxes(title_text="minutes", row=len(PANELS), col=1)
    figure.update_layout(height=1100, width=1100, template="plotly_white", margin={"t": 40, "b": 40})
    figure.write_html(path, include_plotlyjs=True)
