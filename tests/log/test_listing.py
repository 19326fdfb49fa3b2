"""A directory is listed anew when it may have changed, and not for every look of who follows a log in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from esper_otel.events import Heartbeat
from esper_otel.log import listing as module
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.layout import Series
from esper_otel.log.listing import KEPT_S, STEP_S, Listing
from esper_otel.log.reader import LogReader

LONG_AGO_NS = 1_000_000_000


class Clock:
    """Time and the number of listings in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.listed = 1_000.0, 0
        really = module._list

        def counted(directory: Path) -> tuple[str, ...]:
            self.listed += 1
            return really(directory)

        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        monkeypatch.setattr(module, "_list", counted)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def put(directory: Path, name: str, *, at_ns: int) -> None:
    """Make a file; the directory then says that it was changed ``at_ns``."""
    directory.mkdir(exist_ok=True)
    (directory / name).touch()
    os.utime(directory, ns=(at_ns, at_ns))


def trusted(directory: Path, clock: Clock) -> Listing:
    """The listing of a directory that stood still for long."""
    listing = Listing(directory)
    listing.names()
    clock.pass_s(STEP_S + 0.1)
    listing.names()
    return listing


def test_a_directory_that_stands_still_is_listed_once_in_some_seconds(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "run", "a", at_ns=LONG_AGO_NS)
    listing = trusted(tmp_path / "run", clock)
    before = clock.listed
    for _ in range(40):
        assert ("a",) == listing.names()
        clock.pass_s(KEPT_S / 50)
    assert before == clock.listed

    clock.pass_s(KEPT_S)
    listing.names()
    assert before + 1 == clock.listed


def test_what_comes_and_goes_is_seen_at_once(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "run", "a", at_ns=LONG_AGO_NS)
    listing = trusted(tmp_path / "run", clock)

    (tmp_path / "run" / "b").touch()
    assert {"a", "b"} == set(listing.names())
    (tmp_path / "run" / "a").unlink()
    assert ("b",) == listing.names()


def test_two_changes_in_one_step_of_the_file_systems_clock_are_both_seen(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "run", "a", at_ns=LONG_AGO_NS)
    listing = Listing(tmp_path / "run")
    listing.names()
    clock.pass_s(1.9)
    put(tmp_path / "run", "b", at_ns=LONG_AGO_NS)

    assert {"a", "b"} == set(listing.names())


def test_a_file_system_that_never_tells_is_believed_for_some_seconds_only(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "run", "a", at_ns=LONG_AGO_NS)
    listing = trusted(tmp_path / "run", clock)
    put(tmp_path / "run", "b", at_ns=LONG_AGO_NS)
    assert ("a",) == listing.names()

    clock.pass_s(KEPT_S)
    assert {"a", "b"} == set(listing.names())


def test_a_directory_that_is_gone_has_no_names_and_one_that_takes_its_place_has_its_own(
    tmp_path: Path, clock: Clock
) -> None:
    put(tmp_path / "run", "a", at_ns=LONG_AGO_NS)
    put(tmp_path / "other", "b", at_ns=LONG_AGO_NS)
    listing = trusted(tmp_path / "run", clock)

    shutil.rmtree(tmp_path / "run")
    assert () == listing.names()
    (tmp_path / "other").rename(tmp_path / "run")
    assert ("b",) == listing.names()


def test_who_writes_does_not_rely_on_it(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path / "run", "events.000001.jsonl", at_ns=LONG_AGO_NS)
    series = Series(tmp_path / "run", 0)
    series.numbers()
    clock.pass_s(STEP_S + 0.1)
    series.numbers()
    put(tmp_path / "run", "events.000002.jsonl", at_ns=LONG_AGO_NS)

    assert [1, 2, 3] == series.numbers()


def test_following_a_run_of_many_segments_takes_no_listing_for_a_look(tmp_path: Path, clock: Clock) -> None:
    run, encoder = tmp_path / "run", LineEncoder("run", 0)
    run.mkdir()
    lines = [encoder.encode(Heartbeat(uptime_s=1.0), Envelope(1, "g", None, None, n + 1))[0] for n in range(201)]
    for number, line in enumerate(lines[:-1], 1):
        (run / f"events.{number:06d}.jsonl").write_bytes(line)
    (run / "events.jsonl").touch()
    os.utime(run, ns=(LONG_AGO_NS, LONG_AGO_NS))
    with LogReader(run, follow=True) as reader:
        assert 200 == len(reader.read(1_000))
        clock.pass_s(STEP_S + 0.1)
        reader.read(1_000)
        before = clock.listed
        for _ in range(50):
            assert [] == reader.read(1_000)
        assert before == clock.listed

        with (run / "events.jsonl").open("ab") as log:
            log.write(lines[-1])
        assert 1 == len(reader.read(1_000))
        assert before == clock.listed
