"""Relay, gateway and exporter as they are shipped write to ClickHouse, and the views find there what the logs have.

The engine is chDB behind a front of the tests; see :mod:`tests.clickhouse.front`.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from esper_otel.sql import VIEWS, View, connect
from esper_otel.sql.clickhouse import live
from esper_otel.sql.views.columns import Column
from tests.archive.rows import command, counted
from tests.archive.test_archive_equals_log import recorded
from tests.clickhouse.engine import ClickHouse, not_null
from tests.clickhouse.front import Front
from tests.collector.certificates import write_certificates
from tests.collector.collectors import CONFIGURATIONS, Collector
from tests.recorded import RECORDINGS, recording
from tests.relay.processes import environment
from tests.tools import ROOT
from tests.waiting import wait_for

TOKEN = "what-agents-say"
NOT_SENT = {"run_dir", "source", "segment", "offset", "data"}
"""Columns of what only the log knows; the payload is compared by the views of the events."""

TOO_LARGE = "tamiyo_updates"
"""View of events that may have more fields than a log event has room for: their maps are left out."""

NOT_COMPARED = {"raw_events", "ppo_updates", "tamiyo_updates_by_cell"}
"""Views of lines, which are compared apart, and of those maps."""


class Live:
    """A gateway that sends to ClickHouse, and what sends to the gateway."""

    def __init__(self, directory: Path) -> None:
        self.engine = ClickHouse(directory)
        self.front = Front(self.engine, directory)
        self._directory, self._relays = directory, 0
        self._tls = write_certificates(directory / "tls")
        (directory / "token").write_text(TOKEN)
        self.gateway = Collector(
            "gateway",
            directory / "gateway",
            _overlay(),
            COLLECTOR_TLS_DIR=str(self._tls),
            COLLECTOR_GATEWAY_TOKEN_FILE=str(directory / "token"),
            COLLECTOR_CLICKHOUSE_URL=self.front.url,
            COLLECTOR_LOGS_EXPORTER="nop",
            COLLECTOR_TRACES_EXPORTER="nop",
            COLLECTOR_DECISION_WAIT_AFTER_ROOT="1s",
            COLLECTOR_HEALTHY_PERCENT="100",
        )

    def send(self, run: Path) -> None:
        """Let a relay of its own send the run to the gateway from its start."""
        self._relays += 1
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.gateway.url("GRPC", "https"),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(self._tls / "ca.crt"),
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
            "OTEL_METRICS_EXPORTER": "none",
        }
        state = self._directory / f"relay{self._relays}"
        arguments = [sys.executable, "-m", "esper_otel.relay", str(run), "--linger", "0", "--state-dir", str(state)]
        sent = subprocess.run(arguments, cwd=ROOT, env=environment(**variables), capture_output=True, text=True)
        assert 0 == sent.returncode, sent.stderr

    def wait(self) -> None:
        """Wait until everything that the gateway has taken is in ClickHouse."""
        for items in ("log_records", "spans"):

            def is_there(items: str = items) -> bool:
                told = self.gateway.telemetry()
                sent = told.total(f"otelcol_exporter_sent_{items}", exporter="clickhouse")
                return 0 < sent == told.total(f"otelcol_receiver_accepted_{items}")

            wait_for(is_there, f"all {items} in ClickHouse")

    def view(self, view: View) -> list[tuple[Any, ...]]:
        """Rows of a view, without the columns that are not sent."""
        return self.engine.view(msgspec.structs.replace(view, columns=sent(view)), live.DATABASE)

    def close(self) -> None:
        self.gateway.kill()
        self.front.__exit__()
        self.engine.close()


def _overlay() -> dict[str, Any]:
    """The shipped file, without what the front has not, and with the pace of a test."""
    overlay: dict[str, Any] = yaml.safe_load((CONFIGURATIONS / "clickhouse.yaml").read_text())
    exporter = overlay["exporters"]["clickhouse"]
    exporter["compress"] = "none"
    exporter["sending_queue"]["batch"]["flush_timeout"] = "200ms"
    exporter["retry_on_failure"] |= {"initial_interval": "200ms", "max_interval": "500ms"}
    return overlay


def sent(view: View) -> tuple[Column, ...]:
    kept = [column for column in view.columns if column.name not in NOT_SENT]
    if view.name == TOO_LARGE:
        kept = [column for column in kept if "(" not in column.type and "[]" not in column.type]
    return tuple(kept)


def in_order(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, Counter[str]]:
    """How often each row is in each view; attributes have no order, so neither have the entries of a map."""
    rows = {view: [tuple(map(_sorted, row)) for row in of_view] for view, of_view in found.items()}
    return counted(rows)


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("ours"), updates=5)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory, ours: Path) -> Iterator[Live]:
    """Every recording and a run of our own, sent."""
    stream = Live(tmp_path_factory.mktemp("live"))
    stream.engine.ask(command("clickhouse", "--live", "--days", "0"))
    stream.engine.ask("USE default")
    with stream.gateway:
        for run in (*map(recording, RECORDINGS), ours):
            stream.send(run)
        stream.wait()
        yield stream
    stream.close()


def test_every_row_of_every_view_is_that_of_the_logs(stream: Live, ours: Path) -> None:
    views = [view for view in VIEWS.values() if view.name not in NOT_COMPARED]
    with connect([*map(recording, RECORDINGS), ours]) as connection:
        expected = {
            view.name: connection.execute(f"SELECT {', '.join(map(not_null, sent(view)))} FROM {view.name}").fetchall()
            for view in views
        }

    assert in_order(expected) == in_order({view.name: stream.view(view) for view in views}) != {}


def test_raw_events_has_each_event_with_its_number_and_its_payload(stream: Live, ours: Path) -> None:
    with connect([ours]) as connection:
        numbered = connection.execute("SELECT event_type, rank, seq FROM raw_events ORDER BY ALL").fetchall()
        losses = connection.execute("SELECT policy_loss FROM tamiyo_updates ORDER BY timestamp").fetchall()
    of_ours = f"FROM {live.DATABASE}.raw_events WHERE run_id = '{_name(ours)}'"

    found = stream.engine.rows(f"SELECT event_type, rank, seq {of_ours} ORDER BY ALL")
    payload = stream.engine.rows(
        f"SELECT JSONExtractFloat(data, 'policy_loss') {of_ours} AND event_type = 'TAMIYO_POLICY_UPDATE'"
        " ORDER BY timestamp"
    )

    assert numbered == [tuple(row) for row in found]
    assert [loss for (loss,) in losses] == pytest.approx([loss for (loss,) in payload])


def _name(run: Path) -> str:
    with connect([run]) as connection:
        ((name,),) = connection.execute("SELECT DISTINCT run_id FROM raw_events").fetchall()
    return str(name)


def test_every_span_is_there_with_its_run_and_its_duration(stream: Live, ours: Path) -> None:
    sent = stream.gateway.telemetry().total("otelcol_exporter_sent_spans", exporter="clickhouse")
    spans = f"FROM {live.DATABASE}.{live.SPANS}"
    with connect([*map(recording, RECORDINGS), ours]) as connection:
        runs = {name for (name,) in connection.execute("SELECT DISTINCT run_id FROM raw_events").fetchall()}

    ((count, found),) = stream.engine.rows(f"SELECT count(), groupUniqArray(run_id) {spans}")
    ((rounds, traces, shortest),) = stream.engine.rows(
        f"SELECT count(), uniqExact(trace_id), min(duration_s) {spans} WHERE name = 'simic.round'"
    )

    assert (sent, runs) == (count, set(found))
    assert rounds == traces > 0
    assert shortest > 0


def test_what_arrives_twice_counts_once(stream: Live, ours: Path) -> None:
    tables = f"{live.DATABASE}.{live.LOGS}"
    before = [stream.engine.rows(f"SELECT count() FROM {live.DATABASE}.{view}") for view in ("raw_events", live.SPANS)]
    rows = stream.engine.rows(f"SELECT count() FROM {tables}")

    stream.send(ours)
    stream.wait()

    assert rows != stream.engine.rows(f"SELECT count() FROM {tables}")
    after = [stream.engine.rows(f"SELECT count() FROM {live.DATABASE}.{view}") for view in ("raw_events", live.SPANS)]
    assert before == after


def test_a_gateway_starts_while_clickhouse_is_away_and_delivers_when_it_is_back(tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs", updates=3)
    later = Live(tmp_path / "live")
    later.engine.ask(command("clickhouse", "--live", "--days", "0"))
    later.engine.ask("USE default")
    later.front.is_away = True
    with later.gateway:
        later.send(run)
        wait_for(lambda: "Exporting failed" in later.gateway.said(), "an attempt that fails")
        later.front.is_away = False
        later.wait()

    with connect([run]) as connection:
        losses = connection.execute("SELECT batch_idx, avg_reward FROM tolaria_batches ORDER BY ALL").fetchall()
    # The exporter asked for the columns of the table when it started, and does without the name of the event.
    assert [[""]] == later.engine.rows(f"SELECT DISTINCT EventName FROM {live.DATABASE}.{live.LOGS}")
    query = f"SELECT batch_idx, avg_reward FROM {live.DATABASE}.tolaria_batches ORDER BY ALL"
    assert losses == [tuple(row) for row in later.engine.rows(query)] != []
    later.close()
