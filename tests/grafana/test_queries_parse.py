"""The parsers of the data sources take every query; metrics and labels are ones that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from esper_otel.signals import SIGNALS, Signal
from esper_otel.signals.names import prometheus_label
from esper_otel.signals.own import OWN_SIGNALS
from esper_otel.signals.summary import STATISTICS, may_be_summarised, summary_names
from grafana.layout.annotations import MARKS
from grafana.queries.logql import known_labels
from grafana.queries.truth import at_every_step
from tests.alerts.selectors_of import selectors_of
from tests.grafana.substituted import EVERYTHING, fill, targets
from tests.tools import tool

FOREIGN = re.compile(r"up|ALERTS|ALERTS_FOR_STATE|target_info|scrape_\w+|otelcol_\w+|(run|arm):\w+:\w+")
"""Metrics of Prometheus itself and of the collector."""

FROM_SCRAPES = {"job", "instance"}


def _series() -> dict[str, set[str]]:
    """Labels by the name of every series that the registry promises."""
    found: dict[str, set[str]] = {}
    for signal in (*SIGNALS, *OWN_SIGNALS):
        labels = {prometheus_label(name) for name in signal.attributes} | FROM_SCRAPES
        parts = ("_bucket", "_sum", "_count") if getattr(signal, "bounds", ()) else ("",)
        for part in parts:
            found.setdefault(f"{signal.prometheus_name}{part}", set()).update(labels | ({"le"} if part else set()))
        if isinstance(signal, Signal) and may_be_summarised(signal):
            for suffix in STATISTICS:
                found.setdefault(summary_names(signal.name, signal.unit, suffix)[2], set()).update(labels)
    return found


def _marks() -> list[str]:
    values = {**EVERYTHING, "job": "esper", "instance": "run"}
    return [fill(at_every_step(mark.what.text), {**values, "__rate_interval": "1m"}) for mark in MARKS]


def test_promtool_takes_every_query(tmp_path: Path) -> None:
    expressions = [one.filled(job="esper", instance="run") for one in targets("prometheus")] + _marks()
    rules = [{"record": f"panel:query{index}", "expr": text} for index, text in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = subprocess.run([tool("promtool"), "check", "rules", str(file)], capture_output=True, text=True)

    assert (0, f"{len(rules)} rules found") == (checked.returncode, f"{len(rules)} rules found"), checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


def test_every_metric_and_label_is_in_the_registry() -> None:
    series = _series()
    unknown = [
        (one.where, name, label)
        for one in targets("prometheus")
        for name, labels in selectors_of(one.filled(job="esper", instance="run"))
        if not FOREIGN.fullmatch(name)
        for label in (labels if name in series else {"no such series"})
        if label not in series.get(name, set())
    ]

    assert [] == unknown


def test_every_query_selects_job_and_run() -> None:
    without = [
        (one.where, name)
        for one in targets("prometheus")
        for name, labels in selectors_of(one.filled(job="esper", instance="run"))
        if not name.startswith("otelcol_") and not labels >= FROM_SCRAPES
    ]

    assert [] == without


def test_every_label_of_a_log_query_is_one_that_the_relay_sends() -> None:
    known = known_labels()
    named = {
        (one.where, label)
        for one in targets("loki")
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", one.filled(job="esper", instance="run"))
    }

    assert set() == {(where, label) for where, label in named if label not in known}


def test_every_variable_has_a_value_when_a_query_is_sent() -> None:
    for kind in ("prometheus", "loki", "tempo"):
        for one in targets(kind):
            assert not re.search(r"\$\D", one.filled(job="esper", instance="run")), one.where
