"""``esper-otel relay --archive``: at its own pace, counted, and through kills and an outage."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import esper_otel
from esper_otel.archive.address import address_of
from esper_otel.archive.store import Store
from esper_otel.events import BatchCompleted, PolicyUpdate
from esper_otel.relay.archive.setup import archive_url
from tests.archive.object_store import BUCKET, Proxy, Request
from tests.archive.rows import rows_of
from tests.archive.test_archive_equals_log import recorded
from tests.relay.processes import announced_url, relay, samples, scrape
from tests.waiting import PATIENCE_S, wait_for

TO = f"s3://{BUCKET}/runs"


def living(directory: Path, run_id: str = "living") -> Path:
    """A run of this process that goes on, with a first segment that is closed."""
    telemetry = esper_otel.configure(telemetry_dir=directory, run_id=run_id, relay=False, segment_bytes=8_000)
    more(telemetry.run_dir)
    return telemetry.run_dir


def more(run: Path) -> None:
    """Emit until one more segment is closed."""
    before = len(list(run.glob("events.0*.jsonl")))

    def is_closed() -> bool:
        for number in range(1, 21):
            esper_otel.emit(PolicyUpdate(policy_loss=1.0 / number, batch=number))
            esper_otel.emit(BatchCompleted(batch_idx=number, avg_accuracy=50.0))
        return len(list(run.glob("events.0*.jsonl"))) > before

    wait_for(is_closed, "a closed segment", every_s=0.1)


def scraped(run: Path, name: str, labels: dict[str, str]) -> float:
    """The greatest value of a metric with these labels; -1 without any."""
    found = samples(scrape(announced_url(run)))
    return max(
        (value for (each, has), value in found.items() if each == name and labels.items() <= dict(has).items()),
        default=-1,
    )


def segments(url: str = TO) -> int:
    return sum(item.key.endswith(".json") and "-0" in item.key for item in Store(address_of(url)).items("_segments"))


def test_a_finished_run_is_archived_whole_and_not_twice(archive: str, tmp_path: Path) -> None:
    run = recorded(tmp_path, ranks=2)

    for _ in range(2):
        with relay(run, "--linger", "0", "--archive", archive) as process:
            _, said = process.communicate(timeout=PATIENCE_S)
        assert 0 == process.returncode, said

    assert rows_of(run) == rows_of(archive)
    assert f"archive to {archive} as mine" in said


def test_a_run_that_grows_is_archived_segment_by_segment_and_its_rest_at_its_end(s3: Proxy, tmp_path: Path) -> None:
    run = living(tmp_path)
    with relay(run, "--follow", "--linger", "0", ESPER_OTEL_ARCHIVE=TO) as process:
        wait_for(lambda: segments() >= 1, "the first segment")
        more(run)
        wait_for(lambda: segments() >= 2, "the second segment")
        esper_otel.shutdown()
        _, said = process.communicate(timeout=PATIENCE_S)

    assert 0 == process.returncode, said
    assert rows_of(run) == rows_of(TO)


def test_a_store_that_is_away_is_counted_shown_and_tried_again(s3: Proxy, tmp_path: Path) -> None:
    s3.fault = Request.cut
    run = living(tmp_path)
    with relay(run, "--follow", "--linger", "0", "--archive", TO) as process:
        failures = {"signal": "archive"}
        wait_for(lambda: scraped(run, "esper_relay_export_failures_total", failures) > 1, "two failures")
        assert scraped(run, "esper_relay_undelivered_bytes", failures) > 0
        esper_otel.emit(BatchCompleted(batch_idx=1_000, avg_accuracy=1.0))
        wait_for(lambda: scraped(run, "tolaria_avg_accuracy", {}) == 1.0, "what the relay serves meanwhile")
        s3.fault = lambda request: None
        wait_for(lambda: scraped(run, "esper_relay_exported_total", failures) > 0, "the archive after the outage")
        wait_for(lambda: scraped(run, "esper_relay_undelivered_bytes", failures) == 0, "the end of what waits")
        esper_otel.shutdown()
        _, said = process.communicate(timeout=PATIENCE_S)

    assert 0 == process.returncode, said
    assert 1 == said.count("it is tried again, nothing is lost meanwhile"), said
    assert "the archive: works again" in said
    assert rows_of(run) == rows_of(TO)


def test_a_relay_that_is_killed_in_an_upload_leaves_the_rest_to_the_next_one(s3: Proxy, tmp_path: Path) -> None:
    run = recorded(tmp_path, updates=150)
    hangs = []

    def stuck(request: Request) -> None:
        if request.method == "PUT" and ".000002." in request.path:
            hangs.append(request)
            wait_for(lambda: s3.fault is not stuck, "the kill")
            request.cut()

    s3.fault = stuck
    with relay(run, "--linger", "0", "--archive", TO) as process:
        wait_for(lambda: hangs, "an upload")
        process.send_signal(signal.SIGKILL)
        process.wait()
    s3.fault = lambda request: None

    with relay(run, "--linger", "0", "--archive", TO) as process:
        _, said = process.communicate(timeout=PATIENCE_S)

    assert 0 == process.returncode, said
    assert rows_of(run) == rows_of(TO)


def test_relays_that_are_killed_while_the_run_grows_and_the_store_is_away_lose_and_repeat_nothing(
    s3: Proxy, tmp_path: Path
) -> None:
    run, failures = living(tmp_path), {"signal": "archive"}
    for is_away in (False, True, False):
        s3.fault = lambda request: None
        done = segments()
        s3.fault = Request.cut if is_away else s3.fault
        with relay(run, "--follow", "--linger", "0", "--archive", TO) as process:
            more(run)
            if is_away:
                wait_for(lambda: scraped(run, "esper_relay_export_failures_total", failures) > 0, "a failure")
            else:
                wait_for(lambda done=done: segments() > done, "a further segment")
            process.send_signal(signal.SIGKILL)
            process.wait()

    with relay(run, "--follow", "--linger", "0", "--archive", TO) as process:
        more(run)
        esper_otel.shutdown()
        _, said = process.communicate(timeout=PATIENCE_S)

    assert 0 == process.returncode, said
    assert rows_of(run) == rows_of(TO)


def test_a_relay_whose_archive_stays_away_ends_with_status_3_and_says_how_to_deliver(s3: Proxy, tmp_path: Path) -> None:
    s3.fault = Request.cut
    run = recorded(tmp_path)

    with relay(run, "--linger", "0", "--drain", "1", "--archive", TO) as process:
        _, said = process.communicate(timeout=PATIENCE_S)

    assert 3 == process.returncode
    assert f"'esper-otel relay {run}' delivers the rest" in said


def test_two_relays_of_one_run_make_one_archive_of_it(s3: Proxy, tmp_path: Path) -> None:
    run = recorded(tmp_path, updates=150)

    states = [tmp_path / "state-1", tmp_path / "state-2"]
    with (
        relay(run, "--linger", "0", "--archive", TO, "--state-dir", str(states[0])) as one,
        relay(run, "--linger", "0", "--archive", TO, "--state-dir", str(states[1])) as other,
    ):
        ends = [process.communicate(timeout=PATIENCE_S) and process.returncode for process in (one, other)]

    assert [0, 0] == ends
    assert rows_of(run) == rows_of(TO)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bucket/runs", "expected an address of an archive"),
        ("s3://user:secret@bucket/runs", "contains a user, a key or a query"),
        (f"{TO}/run_id=x", f"give {TO}, and the name by --run-id"),
    ],
)
def test_an_address_that_is_wrong_ends_the_relay_at_once(tmp_path: Path, given: str, message: str) -> None:
    with relay(recorded(tmp_path, updates=1), "--archive", given) as process:
        _, said = process.communicate(timeout=PATIENCE_S)

    assert 2 == process.returncode
    assert message in said
    assert "secret" not in said


def test_the_option_counts_before_the_variable() -> None:
    assert "file:///a" == archive_url("file:///a", {"ESPER_OTEL_ARCHIVE": "file:///b"})
    assert "file:///b" == archive_url(None, {"ESPER_OTEL_ARCHIVE": " file:///b/ "})
    assert "" == archive_url(None, {})
