"""The text of a backfill: valid OpenMetrics, complete whatever the clocks did, and made without holding the run."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from esper_otel.backfill import openmetrics as backfill_text
from esper_otel.backfill.backfill import LONGEST_GAP_MS, backfill
from esper_otel.backfill.command import milliseconds
from esper_otel.backfill.order import lines_in_order
from esper_otel.log.envelope import Record
from tests.backfill.imported import command, written
from tests.recorded import recording

START_S = 1_700_000_000.0
HOUR_S = 3_600.0


def line(at_s: float, event_type: str = "TAMIYO_POLICY_UPDATE", **envelope: object) -> str:
    """A line of a log as esper-lite writes it."""
    at = datetime.fromtimestamp(at_s, UTC).isoformat()
    data = {"pre_clip_grad_norm": 1.0} if event_type == "TAMIYO_POLICY_UPDATE" else {}
    return json.dumps({"event_type": event_type, "timestamp": at, "group_id": "default", "data": data, **envelope})


def log_of(directory: Path, *lines: str, name: str = "events.jsonl") -> Path:
    """A log with these lines."""
    path = directory / name
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def text_of(run: Path, step_ms: int = 1_000) -> str:
    """The backfill of ``run`` as text."""
    out = io.BytesIO()
    backfill(run, out, step_ms=step_ms, run_id="run", spool_directory=run.parent)
    return out.getvalue().decode()


def scrapes_of(text: str) -> dict[float, list[Metric]]:
    """Families by time from START_S, each scrape checked by the official parser.

    It gets one scrape at a time: it takes the buckets of a histogram's second point for repetitions of the first's.
    """
    headers = [line for line in text.splitlines() if line.startswith("#")]
    scrapes: dict[str, list[str]] = defaultdict(list)
    for entry in text.splitlines():
        if not entry.startswith("#"):
            scrapes[entry.rpartition(" ")[2]].append(entry)
    return {
        round(float(stamp) - START_S, 3): list(text_string_to_metric_families(_ordered(headers, entries)))
        for stamp, entries in sorted(scrapes.items())
    }


def _ordered(headers: list[str], entries: list[str]) -> str:
    """One scrape as a text: under each header the samples of its family."""
    names = [header.split()[2] for header in headers if header.startswith("# TYPE")]
    by_family: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        name = re.match(r"\w+", entry)[0]
        by_family[max((family for family in names if name.startswith(family)), key=len)].append(entry)
    lines = []
    for header in headers[:-1]:
        lines.append(header)
        if header.startswith("# TYPE"):
            lines += by_family[header.split()[2]]
    return "\n".join([*lines, headers[-1], ""])


def samples_of(text: str, name: str) -> list[tuple[float, float]]:
    """Time from START_S and value of every sample called ``name``."""
    return [
        (at_s, sample.value)
        for at_s, families in scrapes_of(text).items()
        for family in families
        for sample in family.samples
        if sample.name == name
    ]


def test_the_official_parser_takes_every_sample_of_a_recording(tmp_path: Path) -> None:
    done = written(recording("esper-lite-rollback"), tmp_path / "metrics.om", "--step", "1s")
    scrapes = scrapes_of(done.text)
    samples = [sample for families in scrapes.values() for family in families for sample in family.samples]

    assert (done.scrapes, done.samples) == (len(scrapes), len(samples))
    assert {"esper-lite-rollback"} == {sample.labels["instance"] for sample in samples}
    assert not [sample for sample in samples if "" in sample.labels.values()]


def test_each_family_and_each_series_in_it_stands_in_one_piece_in_the_order_of_time(tmp_path: Path) -> None:
    done = written(recording("esper-lite-2env"), tmp_path / "metrics.om", "--step", "1s")
    types = re.findall(r"# TYPE (\w+) ", done.text)
    points = [_series_and_time(entry) for entry in done.text.splitlines() if not entry.startswith("#")]
    pieces = [name for name, _ in itertools.groupby(name for name, _ in points)]

    assert len(set(types)) == len(types)
    assert len(set(pieces)) == len(pieces)
    assert all(earlier[1] <= later[1] for earlier, later in itertools.pairwise(points) if earlier[0] == later[0])


def _series_and_time(entry: str) -> tuple[str, float]:
    """The series of a line, all series of a histogram being one, and its time."""
    series, _, at_s = entry.rsplit(" ", 2)
    return re.sub(r"_(bucket|sum|count)\{", "{", re.sub(r'le="[^"]*",', "", series)), float(at_s)


def test_a_scrape_every_step_sees_what_had_happened_until_then(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(line(START_S + at_s) for at_s in (0, 0.5, 1, 1.2, 3.4)))

    assert [(0, 1), (1, 3), (2, 4), (3, 4), (3.4, 5)] == samples_of(text_of(log), "tamiyo_updates_total")


def test_a_gauge_of_the_last_minute_forgets_by_the_time_of_the_run(tmp_path: Path) -> None:
    log = log_of(tmp_path, line(START_S), line(START_S + 120, "TAMIYO_INITIATED"))
    seen = samples_of(text_of(log, step_ms=30_000), "tamiyo_max_pre_clip_grad_norm")

    assert [(0, 1), (30, 1), (60, 1)] == seen


def test_a_long_gap_is_left_empty_and_ended_by_a_scrape_before_the_next_event(tmp_path: Path) -> None:
    gap_s = LONGEST_GAP_MS / 1e3 + 100
    log = log_of(tmp_path, line(START_S), line(START_S + gap_s + 0.5))

    assert [(0, 1), (gap_s, 1), (gap_s + 0.5, 2)] == samples_of(text_of(log), "tamiyo_updates_total")


def test_one_time_from_the_future_does_not_swallow_the_rest_of_the_run(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(line(START_S + at_s) for at_s in (0, 90 * 24 * HOUR_S, 1, 2)))

    assert [(0, 1), (1, 3), (2, 4)] == samples_of(text_of(log), "tamiyo_updates_total")


def test_an_event_with_an_earlier_time_counts_at_the_next_scrape(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(line(START_S + at_s) for at_s in (0, 5, 6, 1, 2, 8)))

    assert (8, 6) == samples_of(text_of(log), "tamiyo_updates_total")[-1]


def test_the_ranks_of_a_run_are_read_side_by_side(tmp_path: Path) -> None:
    log_of(tmp_path, *(line(START_S + at_s, rank=0) for at_s in (0, 2)))
    log_of(tmp_path, *(line(START_S + at_s, rank=1) for at_s in (1, 3)), name="events.rank1.jsonl")

    times = [round(item.timestamp_ns / 1e9 - START_S) for _, item in lines_in_order(tmp_path) if _is_record(item)]

    assert [0, 1, 2, 3] == times


def _is_record(item: object) -> bool:
    return isinstance(item, Record)


def test_a_line_that_is_none_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    log = log_of(tmp_path, line(START_S), "{torn", line(START_S + 1))
    text = text_of(log)

    assert (1, 1) == samples_of(text, "esper_telemetry_rejected_records_total")[-1]
    assert (1, 2) == samples_of(text, "tamiyo_updates_total")[-1]


def test_the_text_is_the_same_however_little_is_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recording("esper-lite-2env")
    outs = io.BytesIO(), io.BytesIO()
    backfill(run, outs[0], step_ms=1_000, run_id=None, spool_directory=tmp_path)
    monkeypatch.setattr(backfill_text, "BUFFERED", 1_000)
    backfill(run, outs[1], step_ms=1_000, run_id=None, spool_directory=tmp_path)

    assert outs[0].getvalue() == outs[1].getvalue()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=20_000), min_size=1, max_size=20))
def test_no_order_of_times_loses_an_event_or_turns_time_back(
    tmp_path_factory: pytest.TempPathFactory, offsets_s: list[float]
) -> None:
    log = log_of(tmp_path_factory.mktemp("log"), *(line(START_S + at_s) for at_s in offsets_s))
    seen = samples_of(text_of(log, step_ms=60_000), "tamiyo_updates_total")

    assert seen == sorted(set(seen))
    assert len({at_s for at_s, _ in seen}) == len(seen)
    assert len(offsets_s) == seen[-1][1]


def test_a_resource_attribute_of_the_environment_becomes_the_job(tmp_path: Path) -> None:
    log = log_of(tmp_path, line(START_S))
    done = written(log, tmp_path / "metrics.om", "--run-id", "mine", OTEL_SERVICE_NAME="nightly")

    assert 'instance="mine",job="nightly"' in done.text


@pytest.mark.parametrize(("text", "expected"), [("500ms", 500), ("15s", 15_000), ("1.5m", 90_000), ("1h", 3_600_000)])
def test_a_step_is_written_as_prometheus_writes_durations(text: str, expected: int) -> None:
    assert expected == milliseconds(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing", "-o", "out.om"), "missing does not exist"),
        (("empty.jsonl", "-o", "out.om"), "contains no event"),
        (("events.jsonl", "-o", "out.om", "--step", "0s"), "expected a time above 0 such as 500ms, 15s or 1m"),
        (("events.jsonl", "-o", "nowhere/out.om"), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    log_of(tmp_path, line(START_S))
    log_of(tmp_path, name="empty.jsonl")
    ended = command(*arguments)

    assert (2, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert said in ended.stderr
    assert ["empty.jsonl", "events.jsonl"] == sorted(path.name for path in tmp_path.iterdir())


def test_nothing_is_written_into_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    log_of(run, line(START_S))
    written(run, tmp_path / "metrics.om")

    assert ["events.jsonl"] == [path.name for path in run.iterdir()]
