"""The phases of docs/guides/migration.md: a run is written in each mode, and each reader is asked what it sees."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esper_otel.esper_lite.producer.hub_line import HubEvent
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.position import LogPosition
from esper_otel.relay.wandb.columns import GROUPS
from esper_otel.relay.wandb.lines import is_shown
from esper_otel.relay.wandb.rows import GroupRows
from esper_otel.sql import VIEWS, connect
from tests.recorded import recording
from tests.recordings.emit_recording import emitted
from tests.recordings.served_run import relay_on, scrape
from tests.sql.plain_python import lines_of
from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S

RECORDING = "esper-lite-rollback"
PAGE = (ROOT / "docs" / "guides" / "migration.md").read_text(encoding="utf-8")
MODES = ("legacy", "domains/dup", "domains")

RENAMED = {
    "PPO_UPDATE_COMPLETED": "TAMIYO_POLICY_UPDATE",
    "EPOCH_COMPLETED": "TOLARIA_EPOCH_COMPLETED",
    "BATCH_EPOCH_COMPLETED": "TOLARIA_BATCH_COMPLETED",
    "GOVERNOR_ROLLBACK": "TOLARIA_ROLLBACK",
}
VIEW = {
    "PPO_UPDATE_COMPLETED": "tamiyo_updates",
    "EPOCH_COMPLETED": "tolaria_epochs",
    "BATCH_EPOCH_COMPLETED": "tolaria_batches",
}
METRIC = {
    "PPO_UPDATE_COMPLETED": "tamiyo_updates_total",
    "EPOCH_COMPLETED": "tolaria_epochs_total",
    "BATCH_EPOCH_COMPLETED": "tolaria_batches_total",
    "GOVERNOR_ROLLBACK": "tolaria_rollbacks_total",
}
KEPT = ("SEED_GERMINATED", "SEED_STAGE_CHANGED", "EPISODE_OUTCOME", "MORPHOLOGY_CAUSAL_LOG", "TRAINING_STARTED")

Counts = dict[str, int]


def claims() -> dict[str, dict[str, str]]:
    """The table of the page: what it says of each reader, by mode."""
    table = re.search(r"\| reader \|.*?\n\n", PAGE, re.DOTALL)
    assert table is not None
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].strip().splitlines()]
    assert [f"`{mode}`" for mode in MODES] == head[1:]
    return {row[0]: dict(zip(MODES, row[1:], strict=True)) for row in rows}


class Written:
    """The recording's events as a run in one mode, and in the recording itself what there is to see."""

    def __init__(self, directory: Path, mode: str) -> None:
        self.run = emitted(recording(RECORDING), directory, mode)
        self.log = self.run / "events.jsonl"
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in self.log.read_bytes().splitlines()]
        self.types = Counter(line["event_type"] for line in self.lines)

    def rows(self, views: dict[str, str]) -> Counts:
        with connect(self.run, views=list(views.values())) as runs:
            return {name: runs.sql(f"FROM {view}").shape[0] for name, view in views.items()}

    def metrics(self) -> Counts:
        with relay_on(self.log) as url:
            served = scrape(url)
        return {name: int(served.total(metric)) for name, metric in METRIC.items()}

    def wandb(self) -> Counts:
        lines, group = LogPosition(self.run, follow=False, wanted=is_shown), GroupRows(AttributeLimits())
        cells: Counter[str] = Counter()
        while (taken := lines.read(1000)) is not None:
            for event in (event for line in taken for event in line.events if type(event) in GROUPS):
                cells.update(name for _, row in group.feed(event) for name in row)
        cells.update(name for _, row in group.finish() for name in row)
        lines.close()
        accuracies = sum(count for name, count in cells.items() if re.fullmatch(r"tolaria/env_\d+/val_accuracy", name))
        return {"PPO_UPDATE_COMPLETED": cells["tamiyo/policy_loss"], "EPOCH_COMPLETED": accuracies}


@pytest.fixture(scope="module")
def recorded() -> Counter[str]:
    return Counter(line["event_type"] for line in lines_of(recording(RECORDING)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    return {mode: Written(tmp_path_factory.mktemp("telemetry"), mode) for mode in MODES}


def said(expected: Counts, found: Counts) -> str:
    """What a reader sees, in the words of the page."""
    assert all(expected.values())
    for words, times in (("all, once", 1), ("all, twice", 2), ("none", 0)):
        if found == {name: times * count for name, count in expected.items()}:
            return words
    return f"{found} instead of {expected}"


Reader = Callable[[Written, "Counter[str]"], str]

READERS: dict[str, Reader] = {
    "a program that looks for the old names in `events.jsonl`": lambda run, events: said(
        {old: events[old] for old in RENAMED}, {old: run.types[old] for old in RENAMED}
    ),
    "a program that looks for the new names in `events.jsonl`": lambda run, events: said(
        {old: events[old] for old in RENAMED}, {old: run.types[new] for old, new in RENAMED.items()}
    ),
    "a program that looks for names that did not change": lambda run, events: said(
        {name: events[name] for name in KEPT}, {name: run.types[name] for name in KEPT}
    ),
    "a program that counts lines, whatever their names": lambda run, events: said(
        {old: events[old] for old in RENAMED}, {old: run.types[old] + run.types[new] for old, new in RENAMED.items()}
    ),
    "the relay's metrics: Prometheus, Grafana, alerts": lambda run, events: said(
        {old: events[old] for old in METRIC}, run.metrics()
    ),
    "the relay's rows in Weights & Biases": lambda run, events: said(
        {old: events[old] for old in ("PPO_UPDATE_COMPLETED", "EPOCH_COMPLETED")}, run.wandb()
    ),
    "SQL views under their new names": lambda run, events: said({old: events[old] for old in VIEW}, run.rows(VIEW)),
    "SQL views under their deprecated names": lambda run, events: said(
        {old: events[old] for old in VIEW},
        run.rows({old: next(v.name for v in VIEWS.values() if v.replaced_by == VIEW[old]) for old in VIEW}),
    ),
}


def test_the_page_speaks_of_the_readers_that_are_tested() -> None:
    assert set(READERS) == set(claims())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_sees_in_each_mode_what_the_page_says(
    written: dict[str, Written], recorded: Counter[str], reader: str, mode: str
) -> None:
    assert claims()[reader][mode] == READERS[reader](written[mode], recorded)


def test_a_pair_of_lines_has_one_identity_and_the_new_name_first(written: dict[str, Written]) -> None:
    lines = written["domains/dup"].lines
    updates = [line for line in lines if line["event_type"] in ("TAMIYO_POLICY_UPDATE", "PPO_UPDATE_COMPLETED")]

    for new, old in zip(updates[::2], updates[1::2], strict=True):
        assert ("TAMIYO_POLICY_UPDATE", "PPO_UPDATE_COMPLETED") == (new["event_type"], old["event_type"])
        assert [new[name] for name in ("event_id", "rank", "seq")] == [
            old[name] for name in ("event_id", "rank", "seq")
        ]


def test_with_both_names_the_log_is_up_to_twice_as_large(written: dict[str, Written]) -> None:
    sizes = {mode: written[mode].log.stat().st_size for mode in MODES}

    assert max(sizes["legacy"], sizes["domains"]) < sizes["domains/dup"] <= sizes["legacy"] + sizes["domains"]


def test_a_run_that_goes_on_in_another_mode_counts_each_event_once(tmp_path: Path, recorded: Counter[str]) -> None:
    for mode in (*MODES, "legacy"):
        run = emitted(recording(RECORDING), tmp_path, mode)

    with connect(run, views=["tamiyo_updates", "seed_germinated"]) as runs:
        counts = [runs.sql(f"FROM {view}").shape[0] for view in ("tamiyo_updates", "seed_germinated")]

    assert [4 * recorded["PPO_UPDATE_COMPLETED"], 4 * recorded["SEED_GERMINATED"]] == counts


def test_runs_of_all_modes_and_esper_lites_own_are_asked_together(
    written: dict[str, Written], recorded: Counter[str]
) -> None:
    with connect([*(run.run for run in written.values()), recording(RECORDING)], views=["tolaria_epochs"]) as runs:
        count = runs.sql("FROM tolaria_epochs").shape[0]

    assert 4 * recorded["EPOCH_COMPLETED"] == count


def test_a_mode_that_does_not_exist_is_reported_with_those_that_do_and_the_default_applies(tmp_path: Path) -> None:
    env = python_environment(
        ESPER_OTEL_STABILITY_OPT_IN="new", ESPER_OTEL_TELEMETRY_DIR=str(tmp_path), ESPER_OTEL_RELAY="0"
    )
    code = "import esper_otel; esper_otel.configure(); esper_otel.shutdown()"
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE_S)

    assert 0 == ended.returncode
    assert (
        "ESPER_OTEL_STABILITY_OPT_IN='new' is ignored: it must be one of domains, domains/dup, legacy. domains applies."
        in ended.stderr
    )


Type = enum.Enum("Type", ["PPO_UPDATE_COMPLETED"])


@dataclasses.dataclass
class OfTheHub:
    event_type: enum.Enum
    data: dict[str, Any]
    event_id: str = "id"
    timestamp: str = "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize("mode", MODES)
def test_esper_lite_in_process_writes_its_own_names_whatever_the_mode(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESPER_OTEL_STABILITY_OPT_IN", mode)
    line, _ = HubEvent(OfTheHub(Type["PPO_UPDATE_COMPLETED"], {"policy_loss": 1.5})).line("run", 0, 1)

    assert "PPO_UPDATE_COMPLETED" == json.loads(line)["event_type"]


def test_an_old_reader_finds_every_field_that_esper_lite_measured(written: dict[str, Written]) -> None:
    old, new = lines_of(recording(RECORDING)), written["legacy"].lines

    for event_type in (*RENAMED, *KEPT):
        measured = {name for data in payloads(old, event_type) for name, value in data.items() if value}
        found = {name for data in payloads(new, event_type) for name in data}
        # this esper-lite writes the norm before clipping under both names
        assert measured - {"grad_norm"} <= found, event_type


def payloads(lines: list[dict[str, Any]], event_type: str) -> list[dict[str, Any]]:
    return [line["data"] for line in lines if line["event_type"] == event_type]


def test_statistics_of_observations_are_lines_of_their_own(written: dict[str, Written]) -> None:
    lines = written["legacy"].lines
    inside = [line for line in lines if line["data"].get("observation_stats")]

    assert [] == inside
    assert 0 < written["legacy"].types["TAMIYO_OBSERVATION_STATS"]


def test_what_is_not_finite_is_a_text_in_a_line_that_is_json(written: dict[str, Written]) -> None:
    raw = recording(RECORDING)
    bare = [line for line in lines_of(raw) if line["event_type"] == "GOVERNOR_ROLLBACK"]
    rollbacks = [line["data"] for line in written["legacy"].lines if line["event_type"] == "GOVERNOR_ROLLBACK"]

    assert all(data["data"]["loss_at_panic"] != data["data"]["loss_at_panic"] for data in bare)
    assert ["NaN"] * len(bare) == [data["loss_at_panic"] for data in rollbacks]
