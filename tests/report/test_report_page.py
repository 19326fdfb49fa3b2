from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from esper_otel.cli import app
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import WriterLock
from esper_otel.report.chart import script_safe
from esper_otel.report.page import report
from tests.recorded import RECORDINGS, recording
from tests.report.made_runs import HOSTILE, hostile, line, log, recorded_lines, updates


class Texts(HTMLParser):
    """What a reader of the page sees, the elements that it is made of, and its figures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.words: list[str] = []
        self.figures: list[dict[str, Any]] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self._inside = dict(attrs).get("type") or tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "application/json":
            self.figures.append(json.loads(data))
        elif self._inside not in {"script", "style"}:
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


def read(path: Path) -> Texts:
    return Texts(report(path))


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_says_what_it_did_not_measure(name: str) -> None:
    page = read(recording(name))

    assert "Not measured in this log: norm after clipping." in page.text
    assert "Not measured in this log: memory, GPU utilisation." in page.text
    assert "unknown: the log has no end" in page.text


def test_the_policy_allows_the_page_its_own_scripts_and_no_address() -> None:
    page = report(recording("esper-lite-2env"))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)

    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe-eval" not in policy[1]
    assert "http" not in policy[1]


def test_nothing_of_a_hostile_log_becomes_an_element(tmp_path: Path) -> None:
    usual = read(recording("esper-lite-rollback"))
    page = read(log(tmp_path / "events.jsonl", hostile(recorded_lines(recording("esper-lite-rollback")))))

    assert page.elements <= usual.elements
    assert HOSTILE.replace("\u2028", "") in page.text.replace("\u2028", "")
    assert "<" not in json.dumps(page.figures).replace("<br>", "").replace("<extra></extra>", "")


def test_a_figure_cannot_end_its_script_element() -> None:
    text = script_safe(json.dumps(HOSTILE, ensure_ascii=False))

    assert not set("<>&\u2028") & set(text)
    assert HOSTILE == json.loads(text)


def test_a_log_without_updates_has_no_empty_chart(tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", [line("TAMIYO_INITIATED", 0, {"env_id": 0})]))

    assert [] == page.figures
    assert 10 == page.text.count("Not measured: ")
    assert "Not judged: the log contains no update and no anomaly." in page.text.replace(" :", ":")


def plain_loop(count: int) -> list[dict[str, Any]]:
    """Reports of the sensors in a training loop without policy, seeds and episodes."""
    found = []
    for number in range(1, count + 1):
        durations = {"durations_s": {"forward": [0.002, 0.004], "backward": [0.006, 0.006]}}
        found.append(line("TOLARIA_PHASE_DURATIONS", number, {"device": "cpu", "step": 50 * number, **durations}))
        memory = {"device": "cpu", "batch": 50 * number, "process_memory_bytes": 2**30}
        found.append(line("TOLARIA_INFRASTRUCTURE_SNAPSHOT", number, memory))
    return found


def test_a_plain_loop_has_charts_of_its_speed_phases_and_memory(tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", plain_loop(4)))
    [figure] = page.figures
    drawn = {trace["name"]: trace["y"] for trace in figure["data"]}

    assert {"steps": [50.0] * 3, "backward": [6.0] * 4, "forward": [3.0] * 4, "cpu process": [1.0] * 4} == drawn
    assert "took 3.0 s" in page.text


def training_updates(count: int, model: str = "Net", **fields: Any) -> list[dict[str, Any]]:
    """Updates of a loop that is no policy, one a second."""
    usual = {"model": model, "optimizer": "SGD", "pre_clip_grad_norm": 2.0, "grad_norm": 0.5, "loss": 1.0, "lr": 0.1}
    return [line("TOLARIA_TRAINING_UPDATE", n, usual | {"update": n} | fields) for n in range(1, count + 1)]


def test_a_plain_loop_has_a_chart_of_its_norms_loss_and_learning_rate(tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", training_updates(4)))
    [figure] = page.figures
    drawn = {trace["name"]: trace["y"] for trace in figure["data"]}

    expected = {"before clipping": 2.0, "after clipping": 0.5, "loss": 1.0, "learning rate": 0.1}
    assert {name: [value] * 4 for name, value in expected.items()} == drawn
    assert "Healthy: 4 updates, all within their limits, and no anomaly." in page.text.replace(" :", ":")


def test_two_models_of_a_loop_are_lines_of_their_own(tmp_path: Path) -> None:
    lines = training_updates(4, "Generator") + training_updates(4, "Discriminator", loss=None)
    for number, each in enumerate(lines):
        each["event_id"] = str(number)
    [figure] = read(log(tmp_path / "events.jsonl", lines)).figures

    names = {trace["name"] for trace in figure["data"]}
    assert {"Generator loss", "Generator before clipping", "Discriminator before clipping"} <= names
    assert "Discriminator loss" not in names


def test_a_norm_far_above_all_before_it_makes_a_plain_loop_unhealthy(tmp_path: Path) -> None:
    jump = training_updates(1, pre_clip_grad_norm=500.0, grad_norm_excess=50.0)
    page = read(log(tmp_path / "events.jsonl", jump))

    said = "Unhealthy: grad_norm_excess above 3 in 1, above 10 in 1 of 1 updates (worst 50)."
    assert said in page.text.replace(" :", ":")
    assert "gradient norms beyond a limit: 1" in page.text.replace(" :", ":")


def test_a_norm_that_is_not_finite_makes_a_plain_loop_unhealthy(tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", training_updates(1, pre_clip_grad_norm=float("inf"), grad_norm=1.0)))

    assert "Unhealthy: 1 value of an update is NaN or infinite." in page.text.replace(" :", ":")


def test_a_part_of_which_nothing_was_measured_is_folded_behind_the_others(tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", plain_loop(4)))

    order = [page.text.index(text) for text in ("Infrastructure timeline", "Policy: nothing", "Seeds: nothing")]
    assert sorted(order) == order


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "Healthy: 4 updates, all within their limits, and no anomaly."),
        ({"kl_divergence": 0.16}, "Needs a look: kl_divergence above 0.15 in 1 of 4 updates (worst 0.16)."),
        (
            {"pre_clip_grad_norm": 4321.0},
            "Unhealthy: pre_clip_grad_norm above 20 in 1, above 100 in 1 of 4 updates (worst 4321).",
        ),
        ({"pre_clip_grad_norm": float("nan")}, "Unhealthy: 1 value of an update is NaN or infinite."),
    ],
)
def test_the_verdict_follows_the_limits_of_the_registry(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    page = read(log(tmp_path / "events.jsonl", updates(4, lambda n: change if n == 2 else {})))

    assert said in page.text


def test_a_rollback_and_a_skipped_update_make_a_run_unhealthy(tmp_path: Path) -> None:
    lines = [
        *updates(3),
        line("TAMIYO_UPDATE_SKIPPED", 4, {"reason": "nonfinite_loss"}),
        line("TOLARIA_ROLLBACK", 5, {"env_id": 0, "reason": "loss"}),
    ]
    page = read(log(tmp_path / "events.jsonl", lines))

    assert "Unhealthy: 1 update was skipped; 1 rollback." in page.text
    assert "updates skipped: 1 rollbacks: 1" in page.text


def test_anomalies_are_listed_newest_first(tmp_path: Path) -> None:
    page = read(recording("esper-lite-rollback"))
    names = ("entropy_collapse_slot", "tolaria_rollback")
    listed = page.text[page.text.index("newest first") :]

    assert sorted(names, key=listed.index) == list(names)


def test_torn_lines_unknown_events_and_unknown_fields_are_losses(tmp_path: Path) -> None:
    path = log(tmp_path / "events.jsonl", [*updates(1, lambda n: {"brand_new": 1}), line("BRAND_NEW", 1, {})])
    with path.open("a") as file:
        file.write('{"event_type": "TAMIYO_POL\n')
    page = read(path)
    listed = page.text[page.text.index("What is missing from this report") :]

    assert "unknown field 1 TAMIYO_POLICY_UPDATE brand_new" in listed
    assert "line without an event: unknown_event_type 1 BRAND_NEW" in listed
    assert "TAMIYO_POL" in listed


def test_seeds_of_a_round_end_with_it_and_prunings_are_marked(tmp_path: Path) -> None:
    seed = {"env_id": 0, "slot_id": "r0c0", "seed_id": "s"}
    lines = [
        line("SEED_GERMINATED", 1, seed | {"blueprint_id": "lora"}),
        line("SEED_STAGE_CHANGED", 2, seed | {"from_stage": "GERMINATED", "to_stage": "TRAINING"}),
        line("SEED_GERMINATED", 3, seed | {"slot_id": "r0c1", "seed_id": "t", "blueprint_id": "norm"}),
        line("SEED_PRUNED", 4, seed | {"slot_id": "r0c1", "seed_id": "t"}),
        line("TOLARIA_BATCH_COMPLETED", 5, {"batch_idx": 1, "n_envs": 1}),
        line("TOLARIA_BATCH_COMPLETED", 9, {"batch_idx": 2, "n_envs": 1}),
    ]
    page = read(log(tmp_path / "events.jsonl", lines))
    lanes = next(figure for figure in page.figures if figure["data"][0]["type"] == "bar")
    spans = {(lane, trace["name"]): x for trace in lanes["data"] if "base" in trace for lane, x in _bars(trace)}

    assert spans == {
        ("env 0 r0c0", "germinated"): 1000,
        ("env 0 r0c0", "training"): 3000,
        ("env 0 r0c1", "germinated"): 1000,
        ("env 0 r0c1", "pruned"): 1000,
    }
    assert ["env 0 r0c1"] == next(trace["y"] for trace in lanes["data"] if trace["name"] == "was removed")
    assert "blueprint lora" in lanes["data"][0]["text"][-1]


def test_arms_share_the_scale_of_a_chart(tmp_path: Path) -> None:
    lines = [
        {**each, "group_id": arm, "event_id": f"{arm}{each['event_id']}"}
        for arm, norm in (("A", 1.0), ("B", 50.0))
        for each in updates(3, lambda n, norm=norm: {"pre_clip_grad_norm": norm})
    ]
    page = read(log(tmp_path / "events.jsonl", lines))

    assert page.figures[0]["layout"]["yaxis"]["range"] == page.figures[1]["layout"]["yaxis"]["range"]


@pytest.mark.parametrize(
    ("status", "end", "said"),
    [
        ("running", [], "died, or was stopped without an end event"),
        ("interrupted", [], "interrupted"),
        ("running", [line("RUN_ENDED", 9, {"outcome": "failed"})], "Unhealthy: the run failed."),
    ],
)
def test_the_head_says_how_a_run_ended(tmp_path: Path, status: str, end: list[dict[str, Any]], said: str) -> None:
    log(tmp_path / "events.jsonl", [*updates(2), *end])
    (tmp_path / "run.json").write_text(
        json.dumps({"status": status, "argv": ["a", HOSTILE], "versions": {"torch": "2"}})
    )
    page = read(tmp_path)

    assert said in page.text
    assert "versions torch 2" in page.text


def test_a_run_that_is_written_is_running(tmp_path: Path) -> None:
    log(tmp_path / "events.jsonl", updates(2))
    lock = WriterLock(Series(tmp_path, 0).lock_path)
    lock.acquire()
    try:
        page = read(tmp_path)
    finally:
        lock.release()

    assert "running started" in page.text


def test_the_command_writes_the_page_and_says_where(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", str(recording("esper-lite-2env")), "-o", str(out)])

    assert 0 == result.exit_code, result.output
    assert out.as_uri() in result.output.replace("\n", "")
    assert [out] == list(tmp_path.iterdir())


def test_the_command_refuses_what_is_no_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path / "none"), "-o", str(tmp_path / "report.html")])

    assert 2 == result.exit_code
    assert "does not exist" in result.output
    assert [] == list(tmp_path.iterdir())


def _bars(trace: dict[str, Any]) -> list[tuple[str, float]]:
    return list(zip(trace["y"], trace["x"], strict=True))
