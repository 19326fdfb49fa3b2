"""A real run whose log was damaged: each line that becomes no event has a reason, and the others count as before."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.recorded import recording
from tests.recordings.served_run import Served, relay_on, scrape


def line(event_type: str, data: object, number: int) -> bytes:
    """A line as esper-lite writes it."""
    envelope = {"event_id": f"extra-{number}", "event_type": event_type, "timestamp": "2026-11-22T18:00:00+00:00"}
    return json.dumps({**envelope, "group_id": "default", "data": data, "severity": "info"}).encode() + b"\n"


REJECTED = {
    "malformed": [b"not JSON\n", b'{"event_type": 1}\n', b"[1, 2]\n"],
    "unknown_event_type": [
        line("ISOLATION_VIOLATION", {}, 1),
        line("ANALYTICS_SNAPSHOT", {"kind": "horoscope"}, 2),
        line("ANALYTICS_SNAPSHOT", {}, 3),
    ],
    "undecodable": [line("PPO_UPDATE_COMPLETED", [1, 2], 4)],
    "torn": [b'{"event_type": "EPOCH_COMP'],
}
ODD = [
    line("MEMORY_WARNING", {"gpu_utilization": 0.5, "colour": "red", "depth": 3}, 5),
    line("MEMORY_WARNING", {"gpu_utilization": "much", "gpu_total_gb": 10**400}, 6),
    line("PLATEAU_DETECTED", {"rolling_delta": True, "batch_idx": 2**70}, 7),
]


@pytest.fixture(scope="module")
def whole() -> Served:
    with relay_on(recording("esper-lite-2env")) as url:
        return scrape(url)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Served]:
    log = tmp_path_factory.mktemp("damaged") / "events.jsonl"
    *bad, torn = [each for lines in REJECTED.values() for each in lines]
    whole_lines = gzip.decompress(recording("esper-lite-2env").read_bytes()).splitlines(keepends=True)
    repeated = whole_lines[-1]
    extra = [*bad, *ODD, repeated]
    places = [(number + 1) * len(whole_lines) // (len(extra) + 1) for number in range(len(extra) - 1)]
    for place, each in reversed(list(zip(places, extra, strict=False))):
        whole_lines.insert(place, each)
    log.write_bytes(b"".join([*whole_lines, repeated, torn]))
    with relay_on(log) as url:
        return log, scrape(url)


def test_every_rejected_line_has_its_reason(damaged: tuple[Path, Served]) -> None:
    expected = {(reason,): float(len(lines)) for reason, lines in REJECTED.items()}

    assert expected | {("duplicate",): 1.0} == damaged[1].values("esper_telemetry_rejected_records_total", "reason")


def test_lines_are_the_projected_ones_and_the_rejected_ones(damaged: tuple[Path, Served]) -> None:
    log, served = damaged
    lines = len(log.read_bytes().split(b"\n"))
    parts = served.values("esper_events_total", "event_type")
    inside_others = parts[("SIMIC_REWARD_COMPUTED",)] + parts[("TAMIYO_OBSERVATION_STATS",)]

    assert lines == served.total("esper_telemetry_records_total")
    assert (
        lines - served.total("esper_telemetry_rejected_records_total")
        == served.total("esper_events_total") - inside_others
    )


def test_the_other_lines_count_as_before(whole: Served, damaged: tuple[Path, Served]) -> None:
    before, after = whole.counters, damaged[1].counters
    changed = {key for key, value in after.items() if before.get(key) != value}

    assert {
        "esper_events_total",
        "esper_telemetry_mistyped_fields_total",
        "esper_telemetry_records_total",
        "esper_telemetry_rejected_records_total",
        "esper_telemetry_unknown_fields_total",
        "simic_memory_warnings_total",
        "simic_plateaus_total",
    } == {name for name, _ in changed}
    assert set(before) <= set(after)


def test_what_a_line_says_beyond_the_contract_is_counted(damaged: tuple[Path, Served]) -> None:
    assert {("MEMORY_WARNING",): 2.0} == damaged[1].values("esper_telemetry_unknown_fields_total", "event_type")


def test_what_has_the_wrong_type_is_counted(damaged: tuple[Path, Served]) -> None:
    expected = {("MEMORY_WARNING",): 2.0, ("PLATEAU_DETECTED",): 1.0}

    assert expected == damaged[1].values("esper_telemetry_mistyped_fields_total", "event_type")
