"""What stands in a log is data: for the terminal, the browser, the exporters and the memory of who reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.log.codec import decode
from esper_otel.log.envelope import BadLine, Reason
from esper_otel.relay.handover import MAX_BYTES, Handover
from esper_otel.relay.ingest import Ingest
from esper_otel.text.terminal import printable
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, events_by_type, relay, scrape
from tests.security.logs import ended_run, line
from tests.tools import python_environment, tool
from tests.waiting import PATIENCE_S, wait_for

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&"


@given(st.text())
def test_nothing_printable_is_obeyed_by_a_terminal(text: str) -> None:
    assert all(character.isprintable() or character in "\t\n" or ord(character) > 0x9F for character in printable(text))


def test_plain_text_stays_as_it_is() -> None:
    assert "Größe 5 µs → 4\n" == printable("Größe 5 µs → 4\n")


def test_a_table_of_a_query_shows_escape_sequences_and_does_not_send_them(tmp_path: Path) -> None:
    run = ended_run(tmp_path / "run", line("TRAINING_STARTED", message=ESCAPE, group_id=ESCAPE, data={"task": ESCAPE}))
    query = "SELECT message, group_id, data FROM raw_events"
    asked = subprocess.run(
        [tool("esper-otel"), "sql", run, query], env=python_environment(COLUMNS="500"), capture_output=True
    )

    assert 0 == asked.returncode, asked.stderr
    assert rb"\x1b]0;owned\x07" in asked.stdout
    assert not {0x1B, 0x07} & set(asked.stdout)
    assert "\x9b" not in asked.stdout.decode()


def test_an_error_of_a_query_does_not_send_them_either(tmp_path: Path) -> None:
    run = ended_run(tmp_path / "run", line(message=ESCAPE))
    query = "SELECT CAST(message AS INTEGER) FROM raw_events"
    asked = subprocess.run([tool("esper-otel"), "sql", run, query], env=python_environment(), capture_output=True)

    assert 2 == asked.returncode
    assert b"owned" in asked.stderr
    assert b"\x1b" not in asked.stderr


@pytest.mark.parametrize("command", ["report", "backfill"])
def test_an_error_of_a_command_that_writes_a_file_does_not_send_them_either(tmp_path: Path, command: str) -> None:
    (tmp_path / "a \x1b]0;owned\x07").mkdir()
    asked = subprocess.run(
        [tool("esper-otel"), command, tmp_path / "a \x1b]0;owned\x07", "-o", tmp_path / "out"],
        env=python_environment(),
        capture_output=True,
    )

    assert 2 == asked.returncode
    assert b"owned" in asked.stderr
    assert b"\x1b" not in asked.stderr


def test_a_relay_does_not_send_what_an_endpoint_or_a_name_says_to_the_terminal(tmp_path: Path) -> None:
    run = ended_run(tmp_path / f"run{ESCAPE[:12]}")
    with relay(run, "--linger", "0") as server:
        _, said = server.communicate(timeout=PATIENCE_S)

    assert "metrics of run run" in said
    assert "\x1b" not in said


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.policy = ""
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count += tag == "script"
        self.policy += dict(attrs).get("content") or "" if "Content-Security-Policy" in dict(attrs).values() else ""
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_markup_in_a_log_is_text_in_the_report(tmp_path: Path) -> None:
    from esper_otel.report.page import report

    def page(name: str, directory: Path) -> str:
        names = dict.fromkeys(("run_id", "group_id", "slot_id", "seed_id", "message"), name)
        lines = [
            line("TRAINING_STARTED", 1, data={"task": name, "reward_mode": name}, **names),
            line("SEED_GERMINATED", 2, data={"blueprint_id": name, "env_id": 0}, **names),
            line("PPO_UPDATE_COMPLETED", 3, data={"ppo_update_idx": 1, "entropy": 1.0}, **names),
            line("GRADIENT_ANOMALY", 4, data={"detail": name, "anomaly_type": name}, **names),
        ]
        said = {"argv": [name], "host": name, "status": name, "versions": {name: name}}
        (run := ended_run(directory, *lines)).joinpath("run.json").write_text(json.dumps(said))
        return report(run)

    found, expected = _Scripts(), _Scripts()
    found.feed(text := page(MARKUP, tmp_path / "hostile"))
    expected.feed(page("plain", tmp_path / "plain"))

    assert "alert(1)" in text
    assert expected.count == found.count
    assert [] == found.handlers
    assert found.policy.startswith("default-src 'none'; script-src 'sha256-")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z"])
def test_a_time_that_cannot_be_sent_makes_a_line_malformed(moment: str) -> None:
    found = decode(line(timestamp=moment))

    assert isinstance(found, BadLine)
    assert Reason.MALFORMED is found.reason


def test_hostile_lines_do_not_keep_good_ones_from_being_delivered_and_served(tmp_path: Path) -> None:
    strange = ["9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2262-04-11T23:47:16Z"]
    lines = [line(number=number, timestamp=moment) for number, moment in enumerate(strange)]
    lines += [line(number=10, epoch=2**200, rank=-(2**70), seq=2**200), line(number=11, rank=2**31, seq=-1)]
    lines += [line(number=12, severity="\x00" * 1000), line("\n{}" * 1000, 13), line(number=14, event_id="x" * 10**6)]
    lines += [
        line("SEED_GERMINATED", 100 + n, slot_id=f"slot\n{n}" + "y" * 10_000, data={"blueprint_id": "z" * n})
        for n in range(300)
    ]
    lines += [line("HEARTBEAT", 1000, message="the good one")]
    run = ended_run(tmp_path / "run", *lines)
    with OtlpReceiver() as receiver:
        with relay(run, "--linger", "300", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as server:
            url = announced_url(run, server.pid)
            wait_for(lambda: events_by_type(scrape(url))["HEARTBEAT"], "the count of the good one")
            text = scrape(url)
            server.terminate()
            _, said = server.communicate(timeout=PATIENCE_S)
        bodies = [record.body.string_value for record in receiver.logs]

    assert "the good one" in bodies
    assert 1 == events_by_type(text)["HEARTBEAT"]
    assert len(text) < 2_000_000
    assert "Traceback" not in said


BOMB = """
import re, sys
from esper_otel.log.reader import LogReader
from esper_otel.relay.handover import Handover
from esper_otel.relay.ingest import Ingest
ingest, handover, lines = Ingest(), Handover({}), 0
with LogReader(sys.argv[1], decode_events=True) as reader:
    while items := reader.read(1000):
        handover.put(reader.positions, ingest.state, [ingest.take(item) for item in items], reader.taken_bytes)
        lines += len(items)
# not ru_maxrss, which begins with the size of the parent
print(lines, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.parametrize(
    "long_line", [line(number=1, data={"x": "a" * 8_000_000}), b"a" * 8_000_000], ids=["lines", "no_line"]
)
def test_a_log_that_unpacks_to_a_gigabyte_is_read_in_bounded_memory(tmp_path: Path, long_line: bytes) -> None:
    bomb = tmp_path / "events.jsonl.zst"
    with bomb.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as packed:
        for _ in range(125):
            packed.write(long_line)
    asked = subprocess.run([sys.executable, "-c", BOMB, bomb], env=python_environment(), capture_output=True, text=True)
    lines, peak_kb = map(int, asked.stdout.split())

    assert bomb.stat().st_size < 1_000_000
    assert lines == (125 if long_line.endswith(b"\n") else 1)
    assert peak_kb < 450_000


def test_what_waits_for_delivery_is_bounded_in_bytes() -> None:
    handover, ingest = Handover({}), Ingest()
    encoded = line("HEARTBEAT", data={"x": "a" * 1_000_000})
    long_line = ingest.take(decode(encoded))
    for number in range(200):
        handover.put({"events.jsonl": {"segment": 1, "offset": number}}, None, [long_line], len(encoded))

    waiting = sum(batch.size_bytes for batch in handover._batches)
    assert 0 < waiting <= MAX_BYTES
