"""Logs that somebody wrote in order to break their reader, and names that end up in SQL and in a page."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from esper_otel.events import EVENT_TYPES
from esper_otel.sql import connect
from tests.faults.ledger import WHOLE, Figures, fault
from tests.faults.runs import EXPORT, delivered
from tests.faults.whole_pipeline import relay_in_process
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import environment
from tests.tools import ROOT
from tests.waiting import PATIENCE_S

EXAMPLES = 5000 if WHOLE else 150
NAMES = sorted(EVENT_TYPES)
OLD_NAMES = ["PPO_UPDATE_COMPLETED", "ANALYTICS_SNAPSHOT", "EPOCH_COMPLETED"]
HOSTILE_TEXT = [
    "'; DROP TABLE esper_events; --",
    '"><script>alert(1)</script>',
    "</script><img src=x onerror=alert(1)>",
    "{{7*7}}${7*7}",
    "../../etc/passwd",
    "a\nb\r\n# HELP x y\nx 1",
    "\u202e\u0000\ufffe",
    "%s%n{0}",
    "NaN",
    "x" * 5000,
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(HOSTILE_TEXT),
    st.sampled_from(["TRAINING", "PRUNED", "FOSSILIZED", "r0c0", "ep1_env0_seed_0", "op", "0", "-1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.just("op"), inner, max_size=4),
    max_leaves=8,
)
TIMES = st.sampled_from(
    ["2026-11-22T19:40:00Z", "2026-11-22T19:40:01.5+05:30", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday"]
)


@st.composite
def hostile_lines(draw: st.DrawFn) -> bytes:
    """An envelope of a known or unknown type with fields of that type, values of any."""
    name = draw(
        st.sampled_from(NAMES) | st.sampled_from(["PPO_UPDATE_COMPLETED", "ANALYTICS_SNAPSHOT", "EPOCH_COMPLETED"])
    )
    fields = list(EVENT_TYPES[name].__struct_fields__) if name in EVENT_TYPES else ["kind", "env_id", "inner_epoch"]
    data = draw(st.dictionaries(st.sampled_from(fields) if fields else st.text(max_size=3), VALUES, max_size=6))
    envelope: dict[str, Any] = {"event_type": name, "timestamp": draw(TIMES), "data": data}
    for key in ("event_id", "group_id", "seed_id", "slot_id", "epoch", "rank", "seq", "run_id", "severity", "message"):
        if draw(st.booleans()):
            envelope[key] = draw(SCALARS)
    return json.dumps(envelope).encode()


RAW = st.binary(max_size=60) | st.sampled_from(
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"event_type":"X","timestamp":',
        b"\xff\xfe\x00",
        b"1e999",
        b"",
        b"\x00" * 500,
    ]
)
LOGS = st.lists(hostile_lines() | RAW, max_size=12)


@settings(max_examples=EXAMPLES, deadline=None)
@given(lines=LOGS)
def check_any_log(directory: Path, lines: list[bytes]) -> None:
    log = directory / "events.jsonl"
    log.write_bytes(b"\n".join(lines))
    outcome = relay_in_process(log)

    assert outcome.lines >= sum(bool(line.strip()) for line in b"\n".join(lines).split(b"\n"))
    assert list(text_string_to_metric_families(outcome.text)) is not None


@fault(
    "malformed and hostile log files (hypothesis): broken lines, any value in any field, any envelope",
    holds="nothing raises; every line is accounted for; state, spans, log events and exposition stay valid",
)
def test_any_log_is_read_to_its_end(tmp_path: Path, figures: Figures) -> None:
    check_any_log(directory=tmp_path)
    figures.add(runs=EXAMPLES)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose directory, groups, seeds, blueprints, keys and event types are hostile."""
    run = tmp_path_factory.mktemp("hostile") / 'it\'s "x"; -- <b>'
    run.mkdir()
    lines = []
    for number, text in enumerate(HOSTILE_TEXT, 1):
        common = {"timestamp": f"2026-11-22T19:40:{number:02d}Z", "run_id": "run", "group_id": text, "seed_id": text}
        seed = {"seed_id": text, "slot_id": text, "env_id": 0, "blueprint_id": text, "params": 1, text: text}
        update = {"batch": number, "ppo_update_idx": 1, "policy_loss": 0.5, "head_entropies": {text: 1.0}}
        decision = {"env_id": 0, "inner_epoch": number, "action_name": text, "blueprint_id": text, "slot_id": text}
        for kind, data in (
            ("SEED_GERMINATED", seed),
            ("TAMIYO_POLICY_UPDATE", update),
            ("TAMIYO_DECISION", decision),
            (text, {text: text}),
        ):
            event = {"event_id": f"e{len(lines)}", "event_type": kind, "message": text, "data": data, **common}
            lines.append(json.dumps(event | {"seq": len(lines) + 1}).encode() + b"\n")
    (run / "events.jsonl").write_bytes(b"".join(lines))
    return run


@fault(
    "hostile texts as names of groups, seeds, slots, blueprints, keys, event types and directories, in a relay",
    holds="the exposition has no line that a label made; every line is delivered",
)
def test_hostile_names_stay_values_in_the_exposition_and_in_otlp(hostile_run: Path, figures: Figures) -> None:
    outcome = relay_in_process(hostile_run)
    families = {family.name for family in text_string_to_metric_families(outcome.text)}
    assert "x" not in families
    with OtlpReceiver() as receiver:
        env = environment(**EXPORT, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)
        command = [sys.executable, "-m", "esper_otel.relay", str(hostile_run), "--linger", "0"]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert (0, 4 * len(HOSTILE_TEXT)) == (done.returncode, len(delivered(receiver))), done.stderr
    figures.add()


@fault(
    "hostile texts as names, in SQL",
    holds="they come back as they are; no statement of theirs runs; the views stand",
)
def test_hostile_names_come_back_from_sql_as_they_are(hostile_run: Path, figures: Figures) -> None:
    with connect(hostile_run) as connection:
        found = connection.execute("SELECT blueprint_id FROM seed_germinated ORDER BY seq").fetchall()
        groups = connection.execute("SELECT DISTINCT group_id FROM decisions").fetchall()
        views = connection.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchone()

    assert HOSTILE_TEXT == [row[0] for row in found]
    assert {*HOSTILE_TEXT} == {row[0] for row in groups}
    assert views is not None
    assert views[0] > 80
    figures.add()


class Elements(HTMLParser):
    """Names of the elements and attributes of a page, and the beginning of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":
            self.scripts.append(data[:20])


@pytest.mark.skipif(importlib.util.find_spec("esper_otel.report") is None, reason="this version has no report")
@fault(
    "hostile texts as names, in the HTML report",
    holds="the page holds no element, script or attribute of theirs",
)
def test_hostile_names_are_no_markup_in_the_report(hostile_run: Path, tmp_path: Path, figures: Figures) -> None:
    from esper_otel.report.page import write_report

    page = tmp_path / "report.html"
    write_report(hostile_run, page)
    html = page.read_text(encoding="utf-8")

    found = Elements()
    found.feed(html)
    assert [] == [text for text in found.scripts if text.startswith("alert(1)")]
    assert found.names & {"blink", "img"} == set()
    assert [] == [name for name in found.attributes if name.startswith("on")]
    figures.add()
