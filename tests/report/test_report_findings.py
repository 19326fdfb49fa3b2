"""Findings of the diagnosis stand on top of the page, each with a link to the part that shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from esper_otel.alerts.kinds import KINDS
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.report.findings import PLACES
from esper_otel.report.page import report
from tests.diagnosis.made import line, policy, run, training
from tests.recorded import RECORDINGS, recording
from tests.report.made_runs import HOSTILE, log

CASES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "loop": (training(loss=lambda n: "NaN" if n > 40 else 0.5), "updates-of-the-model"),
    "policy": (policy(pre_clip_grad_norm=lambda n: "NaN" if n > 40 else 0.5), "gradient-health"),
    "trust": (policy(kl_divergence=1.0), "trust-region"),
    "critic": (policy(120, explained_variance=-2.0), "value-function"),
    "losses": ([*training(), line("TELEMETRY_LOSS", 61, reason="queue_full", count=3)], "lost-events"),
}


def links(page: str) -> list[str]:
    """Targets of the links in the list of findings."""
    findings = re.search(r'<section id="findings">(.*?)</section>', page, re.DOTALL)
    assert findings is not None
    return re.findall(r'href="#([^"]+)"', findings[1])


@pytest.mark.parametrize(("lines", "place"), CASES.values(), ids=CASES)
def test_a_finding_links_to_what_shows_it(lines: list[dict[str, Any]], place: str, tmp_path: Path) -> None:
    directory = run(tmp_path / "run", lines)
    page = report(directory)

    assert place in links(page)
    for finding in diagnose(directory).findings:
        assert finding.sentence in page


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_link_of_a_page_leads_to_a_part_of_it(name: str) -> None:
    page = report(recording(name))

    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r' id="([^"]+)"', page))


def test_every_kind_of_finding_has_a_place() -> None:
    assert set(KINDS) == set(PLACES)


def test_a_healthy_run_says_so_and_lists_nothing(tmp_path: Path) -> None:
    page = report(run(tmp_path / "run", training()))

    assert "Healthy: updates 60" in page
    assert '<ol class="findings">' not in page


def test_several_runs_together_are_not_judged_as_one(tmp_path: Path) -> None:
    for name in "ab":
        lines = [each | {"run_id": name, "event_id": f"{name}{n}"} for n, each in enumerate(training(loss="NaN"))]
        log(tmp_path / f"{name}.jsonl", lines)

    assert "Not judged: these are several runs" in report(tmp_path)


def test_texts_of_a_finding_are_no_elements(tmp_path: Path) -> None:
    ended = line("RUN_ENDED", 61, outcome="failed", detail=HOSTILE)
    page = report(run(tmp_path / "run", [*training(), ended]))

    assert "The run failed on rank 0" in page
    assert "<img src=http" not in page
