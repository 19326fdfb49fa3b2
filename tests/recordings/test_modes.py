"""Old names, new names or both: a run counts the same, each event once.

The events of a real run are emitted through the public API in each mode of ESPER_OTEL_STABILITY_OPT_IN.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.recorded import RECORDINGS, recording
from tests.recordings.emit_recording import emitted
from tests.recordings.served_run import Served, relay_on, scrape

MODES = ("domains", "domains/dup", "legacy")
ABOUT_LINES = ("esper_telemetry_records_total", "esper_telemetry_rejected_records_total")
"""Counters of lines, not of events: the modes differ in these on purpose."""

RECORDED = "recorded"
"""The recording itself, as esper-lite wrote it."""

InModes = dict[str, tuple[Path, Served]]
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def counters_of_events(served: Served) -> Series:
    return {key: value for key, value in served.counters.items() if key[0] not in ABOUT_LINES}


@pytest.fixture(scope="module", params=RECORDINGS)
def in_modes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> InModes:
    logs = {RECORDED: recording(request.param)}
    for mode in MODES:
        logs[mode] = emitted(recording(request.param), tmp_path_factory.mktemp("telemetry"), mode) / "events.jsonl"
    found = {}
    for mode, log in logs.items():
        with relay_on(log) as url:
            found[mode] = (log, scrape(url))
    return found


@pytest.mark.parametrize("mode", ["domains/dup", "legacy"])
def test_every_mode_counts_what_the_new_names_count(in_modes: InModes, mode: str) -> None:
    expected = counters_of_events(in_modes["domains"][1])
    found = counters_of_events(in_modes[mode][1])

    assert len(expected) > 200
    assert set(expected) == set(found)
    assert pytest.approx(expected) == found


def test_new_names_count_what_the_recording_counts(in_modes: InModes) -> None:
    expected = counters_of_events(in_modes[RECORDED][1])
    found = counters_of_events(in_modes["domains"][1])
    # Counters of what esper-lite never sends begin at 0 in a run of ours and do not exist in one of its own.
    ended = {key: value for key, value in found.items() if value != expected.get(key, 0.0)}

    assert {"esper_run_ends_total", "esper_events_total"} == {name for name, _ in ended}
    assert {1.0} == set(ended.values())


@pytest.mark.parametrize("mode", MODES)
def test_every_field_of_every_mode_is_known_and_fits(in_modes: InModes, mode: str) -> None:
    assert in_modes[mode][1].values("esper_telemetry_unknown_fields_total", "event_type") == {}
    assert in_modes[mode][1].values("esper_telemetry_mistyped_fields_total", "event_type") == {}


def test_with_both_names_every_second_line_of_an_event_is_a_duplicate(
    in_modes: InModes,
) -> None:
    log, served = in_modes["domains/dup"]
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    identities = Counter((line["event_id"], line["seq"]) for line in lines)
    repeated = sum(count - 1 for count in identities.values())

    assert repeated > 100
    assert len(lines) == served.total("esper_telemetry_records_total")
    assert {("duplicate",): repeated} == served.values("esper_telemetry_rejected_records_total", "reason")
    assert len(identities) == served.total("esper_events_total")


@pytest.mark.parametrize(
    ("mode", "new", "old"), [("domains", True, False), ("domains/dup", True, True), ("legacy", False, True)]
)
def test_a_mode_writes_the_names_that_it_promises(in_modes: InModes, mode: str, new: bool, old: bool) -> None:
    text = in_modes[mode][0].read_bytes()

    assert new == (b'"TAMIYO_POLICY_UPDATE"' in text)
    assert old == (b'"PPO_UPDATE_COMPLETED"' in text)


@pytest.mark.parametrize("mode", ["domains", "legacy"])
def test_with_one_name_every_line_is_projected(in_modes: InModes, mode: str) -> None:
    log, served = in_modes[mode]

    assert log.read_bytes().count(b"\n") == served.total("esper_telemetry_records_total")
    assert served.values("esper_telemetry_rejected_records_total", "reason") == {}
