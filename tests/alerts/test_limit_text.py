"""The limit of an alert in the runbook: every number that decides, with its unit."""

from __future__ import annotations

import re
from math import prod

import pytest

from deploy.prometheus.limit_text import limit_text
from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from esper_otel.alerts.promql import limit
from tests.tools import ROOT

BY_NAME = {alert.name: alert for alert in ALERTS}
COMPARED = re.compile(r"[<>]=?\s*([\d.]+(?:\s*\*\s*[\d.]+)*)")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_number_that_an_expression_compares_with_is_in_the_meaning(alert: Alert) -> None:
    text = limit_text(alert)
    for number in (prod(map(float, found.split("*"))) for found in COMPARED.findall(alert.expr)):
        forms = [number, 100 * number, number / 60, number / 3600, number / 1024**2, number / 1024**3]
        assert number == 0 or any(f" {form:g}" in text for form in forms), (number, text)


def test_a_counter_of_violations_has_the_limit_of_its_field_for_the_severity_that_it_asks_for() -> None:
    high, exploded = BY_NAME["TamiyoKlHigh"], BY_NAME["TamiyoKlExploded"]

    assert f"`kl_divergence` above {limit('tamiyo.kl_violations', 'warning_above')};" in limit_text(high)
    assert f"`kl_divergence` above {limit('tamiyo.kl_violations', 'critical_above')};" in limit_text(exploded)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GpuHot", "`hw_temperature_celsius` above 85 °C."),
        ("EsperNoPolicyUpdates", "time since `tamiyo_last_update_timestamp_seconds` above 30 min."),
        ("EsperDeliveryBacklog", "`esper_relay_undelivered_bytes` in 15 min above 256 MiB."),
        ("TolariaHostMemoryLeak", "growth of `tolaria_process_memory_usage_bytes` in 15 min above 1 GiB."),
        ("GpuMemoryFull", "`hw_gpu_memory_utilization` above 95 %."),
        ("TolariaAmpScaleCollapsed", "`tolaria_amp_loss_scale` below 1."),
        ("TamiyoNonFiniteUpdate", "one is enough."),
    ],
)
def test_a_limit_has_the_unit_that_people_read(name: str, text: str) -> None:
    assert limit_text(BY_NAME[name]) == f"Limit: {text}"


def test_the_runbook_has_the_limit_beside_the_meaning() -> None:
    page = (ROOT / "docs" / "reference" / "runbook.md").read_text(encoding="utf-8")

    for alert in ALERTS:
        assert f"**What it means.** {alert.meaning} {limit_text(alert)}".rstrip() + "\n" in page
