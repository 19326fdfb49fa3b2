"""The SQL of the runbook, as a person copies it from the page, asked of a run that was broken on purpose."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import pytest
from prometheus_client.samples import Sample

from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from esper_otel.events import (
    AllocatorStats,
    EpochCompleted,
    Event,
    NumericalInstability,
    PerformanceDegradation,
    PlateauDetected,
    PolicyUpdate,
    RewardHackingSuspected,
    Rollback,
    SensorFault,
    TelemetryLoss,
    TrainingUpdate,
    UpdateSkipped,
    ValueCollapse,
)
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.prometheus.exposition import to_prometheus
from esper_otel.sql import connect, select
from esper_otel.sql.catalogue import views_in
from tests.recorded import recording
from tests.shared_run import finished_run
from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S

ROUNDS = "4"
"""Of the chaos recipe: poisoned rewards, NaN weights and a wiped head."""

EVERY_CAUSE: tuple[Event, ...] = (
    PolicyUpdate(batch=1, pre_clip_grad_norm=500.0),
    PolicyUpdate(batch=1, pre_clip_grad_norm=1.0),
    TrainingUpdate(model="Net", optimizer="Adam", pre_clip_grad_norm=500.0, grad_norm_excess=50.0),
    TrainingUpdate(model="Net", optimizer="Adam", pre_clip_grad_norm=math.nan),
    UpdateSkipped(batch=1, reason="nonfinite_grad", pre_clip_grad_norm=math.nan),
    NumericalInstability(batch=1, detail="a weight"),
    ValueCollapse(batch=1, value=0.0),
    Rollback(env_id=0, panic_reason="governor_nan"),
    EpochCompleted(env_id=0, val_loss=math.inf),
    PlateauDetected(batch_idx=1),
    PerformanceDegradation(env_id=0, current_acc=1.0),
    RewardHackingSuspected(env_id=0, pattern="attribution_ratio"),
    TelemetryLoss(reason="full", count=3),
    SensorFault(sensor="amp", reason="unavailable", count=1),
    AllocatorStats(device="cuda:0", num_ooms=1),
)

COMMANDS = {
    entry.split("\n", 1)[0]: found[1]
    for entry in (ROOT / "docs" / "reference" / "runbook.md").read_text(encoding="utf-8").split("\n### ")[1:]
    if (found := re.search(r"^    (esper-otel sql .*)$", entry, re.MULTILINE))
}
NAMES_ITS_WORDS = r"""esper_otel() { printf '%s\0' "$@"; }"""
"""A shell function in the place of the program, so that the words are those that a shell makes of a command."""


def words(command: str, shell: str = "sh") -> list[str]:
    """The arguments that a real shell gives to the program."""
    script = f"{NAMES_ITS_WORDS}\n{command.replace('esper-otel', 'esper_otel', 1)}\n"
    ended = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert ended.stderr == ""
    return ended.stdout.split("\0")[:-1]


QUERIES = {name: words(command)[-1] for name, command in COMMANDS.items()}
COUNTED = [alert for alert in ALERTS if alert.counter and alert.name in QUERIES]
MEASURED_ELSEWHERE = re.compile(r"EsperCollector|EsperExport|Gpu(?!Idle|MemoryFull)")
OPERATORS = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


class Broken(msgspec.Struct, frozen=True):
    """The run: what its relay would serve, and its log in SQL."""

    how: str
    samples: list[Sample]
    runs: duckdb.DuckDBPyConnection

    def count(self, alert: Alert) -> float:
        """How much the counter of an alert counted in the series that it selects."""
        name, braces = re.findall(r"increase\((\w+)(?:{([^}]*)})?\[", alert.expr)[0]
        matchers = re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', braces)
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name
            and all(OPERATORS[how](sample.labels[label], wanted) for label, how, wanted in matchers)
        )


@pytest.fixture(scope="module", params=["chaos", "one of each"])
def broken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    directory = tmp_path_factory.mktemp("telemetry")
    run = (
        finished_run(tmp_path_factory, "--recipe", "chaos", "--rounds", ROUNDS)
        if request.param == "chaos"
        else written(directory / "run", EVERY_CAUSE)
    )
    with connect(run, views=views_in(" ".join(QUERIES.values()))) as runs:
        yield Broken(request.param, served(run), runs)


@pytest.fixture(scope="module")
def recorded() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(recording("esper-lite-2env"), views=views_in(" ".join(QUERIES.values()))) as runs:
        yield runs


def written(run: Path, events: tuple[Event, ...]) -> Path:
    """Directory of a run with these events and one line that is none."""
    run.mkdir()
    encoder = LineEncoder(run.name, 0)
    lines = [encoder.encode(event, Envelope(at, "default", None, None, at))[0] for at, event in enumerate(events, 1)]
    (run / "events.jsonl").write_bytes(b"".join(lines) + b"no event\n")
    return run


def served(run: Path) -> list[Sample]:
    """What a relay would serve once it has read the log."""
    state, ingest = MetricState(), Ingest()
    reader = LogReader(run, follow=False, positions=None)
    while batch := reader.read(500):
        for item in batch:
            account(state, ingest.take(item))
    reader.close()
    return [sample for family in state.collect(state.last_ns) for sample in to_prometheus(family).samples]


def test_every_alert_has_a_query_or_is_measured_outside_of_the_training_process() -> None:
    without = {alert.name for alert in ALERTS} - set(QUERIES)

    assert {alert.name for alert in ALERTS if MEASURED_ELSEWHERE.match(alert.name)} == without


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_takes_each_command_of_the_page_as_three_words(shell: str) -> None:
    taken = {name: words(command, shell) for name, command in COMMANDS.items()}

    assert {name: ["sql", "RUN", QUERIES[name]] for name in COMMANDS} == taken
    assert all(query.startswith("SELECT ") for query in QUERIES.values())


def test_a_command_with_quoted_columns_runs_in_a_shell_on_a_recording() -> None:
    (name, *_) = [name for name, query in QUERIES.items() if '"' in query]
    command = COMMANDS[name].replace("RUN", shlex.quote(str(recording("esper-lite-2env"))))
    ended = subprocess.run(
        ["bash", "-c", command],
        env=python_environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_can_be_asked_of_a_recording(recorded: duckdb.DuckDBPyConnection, name: str) -> None:
    assert select(recorded, QUERIES[name]).description


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_can_be_asked_and_its_rows_say_when_or_how_often(broken: Broken, name: str) -> None:
    columns = [column for column, *_ in select(broken.runs, QUERIES[name]).description]

    assert len(columns) >= 2
    assert {"timestamp", "newest", "minute", "times", "seeds", "epochs", "seconds"} & set(columns)


@pytest.mark.parametrize("alert", COUNTED, ids=[alert.name for alert in COUNTED])
def test_a_query_has_rows_when_the_counter_of_its_alert_counted_and_only_then(broken: Broken, alert: Alert) -> None:
    rows = select(broken.runs, QUERIES[alert.name]).fetchall()

    assert (broken.count(alert) > 0) == bool(rows)


def test_the_runs_were_broken_in_the_ways_that_alerts_are_about(broken: Broken) -> None:
    provoked = {alert.name for alert in COUNTED if broken.count(alert) > 0}
    by_chaos = {"TolariaRollback", "TamiyoNumericalInstability", "TolariaHostLossNonFinite", "TamiyoNonFiniteUpdate"}

    assert (by_chaos if broken.how == "chaos" else {alert.name for alert in COUNTED}) <= provoked
