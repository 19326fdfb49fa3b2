from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from esper_otel.report.page import write_report
from tests.recorded import recording
from tests.report.browser import opened
from tests.report.made_runs import as_two_arms, hostile, line, log, recorded_lines, updates
from tests.shared_run import finished_run
from tests.waiting import wait_for

CHARTS = 8


@pytest.fixture(scope="module")
def recorded_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("recorded") / "report.html"
    write_report(recording("esper-lite-3env-3slot"), page)
    return page


@pytest.fixture(scope="module")
def trained_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("trained") / "report.html"
    write_report(finished_run(tmp_path_factory, "--recipe", "smoke", "--seed", "3"), page)
    return page


@pytest.mark.parametrize(
    ("made", "scheme"), [("recorded_page", "light"), ("recorded_page", "dark"), ("trained_page", "light")]
)
def test_every_chart_is_drawn_without_an_error_or_a_request(
    browser: Browser, made: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    page = request.getfixturevalue(made)
    with opened(browser, page, scheme) as report:
        report.scroll_through()

        assert CHARTS == len(report.marks())
        assert all(count > 1 for count in report.marks()), report.marks()
        assert [] == report.refused()
        assert [] == report.console
        assert [page.as_uri()] == report.requests


@pytest.mark.parametrize("width", [1366, 420])
def test_the_page_fits_the_width_of_the_screen(browser: Browser, recorded_page: Path, width: int) -> None:
    with opened(browser, recorded_page, width=width) as report:
        report.scroll_through()

        assert 0 == report.page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_a_dark_screen_gets_light_text_and_paper_dark_text_again(browser: Browser, recorded_page: Path) -> None:
    ink = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    with opened(browser, recorded_page, "dark") as report:
        report.scroll_through()
        on_screen = report.page.evaluate(ink)
        report.page.emulate_media(media="print")

        assert "rgb(230, 235, 241)" == on_screen
        wait_for(lambda: report.page.evaluate(ink) == "rgb(28, 39, 51)", "dark text on paper")


def test_texts_of_a_hostile_log_stay_texts(browser: Browser, tmp_path: Path) -> None:
    lines = hostile(recorded_lines(recording("esper-lite-rollback")))
    write_report(log(tmp_path / "events.jsonl", lines), tmp_path / "report.html")
    with opened(browser, tmp_path / "report.html") as report:
        report.scroll_through()

        assert "owned" not in report.page.title()
        assert 0 == report.page.evaluate("document.querySelectorAll('img, iframe, object').length")
        assert [] == report.console
        assert [(tmp_path / "report.html").as_uri()] == report.requests
        assert all(count > 1 for count in report.marks())


def test_the_page_may_not_use_the_network_even_if_a_script_got_in(browser: Browser, recorded_page: Path) -> None:
    ask = """new Promise(done => {
        document.addEventListener('securitypolicyviolation', violation => done(violation.effectiveDirective));
        fetch('http://127.0.0.1:9/').finally(() => setTimeout(done, 1000, 'no policy'));
    })"""
    with opened(browser, recorded_page) as report:
        refused = report.page.evaluate(ask)

        assert "connect-src" == refused


def test_arms_stand_side_by_side(browser: Browser, tmp_path: Path) -> None:
    lines = as_two_arms(recorded_lines(recording("esper-lite-2env")))
    write_report(log(tmp_path / "events.jsonl", lines), tmp_path / "report.html")
    with opened(browser, tmp_path / "report.html") as report:
        report.scroll_through()
        tops = report.page.evaluate(
            "[...document.querySelectorAll('#policy article:first-of-type figure')]"
            ".map(figure => [figure.querySelector('figcaption').textContent, figure.getBoundingClientRect().top])"
        )

        assert ["A", "B"] == [name for name, _ in tops]
        assert tops[0][1] == tops[1][1]


def test_one_spike_in_many_thousand_updates_is_drawn(browser: Browser, tmp_path: Path) -> None:
    lines = updates(5000, lambda n: {"pre_clip_grad_norm": 4321.0} if n == 3210 else {})
    write_report(log(tmp_path / "events.jsonl", [*lines, _skipped()]), tmp_path / "report.html")
    with opened(browser, tmp_path / "report.html") as report:
        report.scroll_through()
        drawn = report.page.evaluate(
            "document.querySelector('.chart').data.map(trace => [trace.name, trace.y.length, Math.max(...trace.y)])"
        )

        norm = next(trace for trace in drawn if trace[0] == "norm before clipping")
        assert 4321.0 == norm[2]
        assert norm[1] <= 2000
        assert ["beyond critical limit", 1, 4321.0] in drawn
        assert ["update skipped", 1, 4321.0] in drawn


def _skipped() -> dict[str, object]:
    return line("TAMIYO_UPDATE_SKIPPED", 4000.5, {"reason": "nonfinite_loss"})
