"""Alerts in Grafana: the rules are listed, and one that fires leads to its panel at its time."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

from esper_otel.alerts import ALERTS
from grafana.links import alert_panels
from tests.browser.whole_stack import KILLED, Stack
from tests.grafana.real_grafana import CONTENT

FIRING = "EsperRunDied"
RED = "rgb(242, 73, 92)"


def test_the_page_of_alerting_lists_the_rules(stack: Stack) -> None:
    page = stack.grafana.context.new_page()
    page.goto(f"{stack.grafana.url}/alerting/list?search=rule:{FIRING}")

    page.wait_for_selector("text=esper-esper")
    assert "1 rule" in page.inner_text("body")
    page.close()


def test_grafana_offers_every_rule(stack: Stack) -> None:
    answer = stack.grafana.context.request.get(f"{stack.grafana.url}/api/prometheus/prometheus/api/v1/rules")
    offered = {rule["name"] for group in answer.json()["data"]["groups"] for rule in group["rules"]}

    assert {alert.name for alert in ALERTS} <= offered


def test_an_alert_that_fires_is_drawn_in_the_colour_of_its_severity_with_its_age(stack: Stack) -> None:
    page = stack.grafana.solo("esper-run", "Alerts of the run", KILLED, size=(1600, 400))
    page.wait_for_selector(f"a:text-is('{FIRING}')")

    row = page.locator("[role=row]", has=page.locator(f"a:text-is('{FIRING}')"))
    severity = row.get_by_text("critical")
    assert RED == severity.evaluate("one => getComputedStyle(one).color")
    assert str(time.gmtime().tm_year) in row.inner_text()
    assert row.get_by_text("firing").is_visible()
    page.close()


def test_a_click_on_an_alert_opens_its_panel_at_its_time(stack: Stack) -> None:
    page = stack.grafana.solo("esper-run", "Alerts of the run", KILLED, size=(1600, 400))
    page.wait_for_selector(f"a:text-is('{FIRING}')")
    link = urlsplit(page.get_attribute(f"a:text-is('{FIRING}')", "href") or "")

    _opens_the_panel(stack, link.path, link.query)
    page.close()


def test_the_link_of_a_notification_opens_the_panel_of_its_alert_at_its_time(stack: Stack) -> None:
    alerts = stack.prometheus._get("alerts")["alerts"]
    (link,) = {
        one["annotations"]["dashboard_url"]
        for one in alerts
        if (one["labels"]["alertname"], one["labels"]["instance"]) == (FIRING, KILLED)
    }
    address = urlsplit(link)

    assert stack.grafana.url == f"{address.scheme}://{address.netloc}"
    _opens_the_panel(stack, address.path, address.query)


def _opens_the_panel(stack: Stack, path: str, query: str) -> None:
    uid, number = alert_panels()[FIRING]
    asked = parse_qs(query)
    since = stack.prometheus.number(f'ALERTS_FOR_STATE{{alertname="{FIRING}",instance="{KILLED}"}}')
    first, last = (float(asked[name][0]) / 1000 for name in ("from", "to"))

    assert (f"/d/{uid}", [f"panel-{number}"]) == (path, asked["viewPanel"])
    assert KILLED in asked["var-instance"]
    assert first < since < last <= time.time() + 1
    page = stack.grafana.context.new_page()
    page.goto(f"{stack.grafana.url}{path}?{query}")
    page.wait_for_selector(CONTENT)
    assert 1 == page.locator(CONTENT).count()
    page.close()
