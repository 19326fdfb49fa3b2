"""A relay that gets SIGTERM while its run goes on, with ``--grace``: as a sidecar does when its pod is deleted."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import (
    announced_url,
    events_by_type,
    manifest,
    relay,
    scrape,
    scrape_to_the_end,
    state_in,
    training,
    types_in,
)
from tests.waiting import PATIENCE_S, wait_for

LONG = "3000"
"""Seconds that no test waits for."""

IN_ORDER = ("--follow", "--linger", LONG, "--grace", LONG)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """The first line on standard error that has ``words``."""
    assert process.stderr is not None
    return next(line for line in process.stderr if words in line)


def begun(run: Path, follower: subprocess.Popen[str]) -> str:
    """URL of the relay, once it shows the run."""
    url = announced_url(run, follower.pid)
    wait_for(lambda: "tamiyo_updates_total" in scrape(url), "the first update")
    return url


def test_it_follows_a_trainer_that_ends_later_until_its_end_was_scraped(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with (
        OtlpReceiver() as receiver,
        training(tmp_path, "--pause", "0.02", "--goes-on-s", "5") as trainer,
        relay(run, *IN_ORDER, "--last-scrape", LONG, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as follower,
    ):
        url = begun(run, follower)
        for process in (trainer, follower):
            process.send_signal(signal.SIGTERM)
        trainer.communicate(timeout=PATIENCE_S)
        last = scrape_to_the_end(url, follower)
        delivered = len(receiver.logs)

    assert (0, "interrupted") == (follower.returncode, state_in(last))
    assert types_in(run) == events_by_type(last)
    assert sum(types_in(run).values()) == delivered


def test_it_waits_for_the_last_scrape_no_longer_than_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with (
        training(tmp_path, "--pause", "0.02", "--goes-on-s", "0") as trainer,
        relay(run, *IN_ORDER, "--last-scrape", "1") as follower,
    ):
        begun(run, follower)
        for process in (trainer, follower):
            process.send_signal(signal.SIGTERM)
        _, said = follower.communicate(timeout=PATIENCE_S)

    assert 0 == follower.returncode
    assert "is served until it was scraped once more, for 1 s at most" in said
    assert "interrupted" == manifest(run)["status"]


def test_a_run_whose_end_was_scraped_before_keeps_it_no_longer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training(tmp_path, "--rounds", "3") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    with relay(run, *IN_ORDER, "--last-scrape", LONG) as follower:
        url = announced_url(run, follower.pid)
        wait_for(lambda: state_in(scrape(url)) == "finished", "the scrape of the end")
        read_until(follower, "the run is over")
        scrape(url)
        follower.send_signal(signal.SIGTERM)

        assert 0 == follower.wait(timeout=PATIENCE_S)


def test_a_trainer_that_ignores_the_signal_is_followed_until_it_is_killed_and_its_death_is_shown(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    with (
        OtlpReceiver() as receiver,
        training(tmp_path, "--pause", "0.02", "--goes-on-s", "-1") as trainer,
        relay(run, *IN_ORDER, "--last-scrape", LONG, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as follower,
    ):
        url = begun(run, follower)
        for process in (trainer, follower):
            process.send_signal(signal.SIGTERM)
        read_until(follower, "told to end")
        before = events_by_type(scrape(url))["TOLARIA_BATCH_COMPLETED"]
        wait_for(lambda: events_by_type(scrape(url))["TOLARIA_BATCH_COMPLETED"] > before + 2, "more rounds")
        trainer.kill()
        last = scrape_to_the_end(url, follower)
        delivered = len(receiver.logs)

    assert (0, "died") == (follower.returncode, state_in(last))
    assert 1 == types_in(run)["RUN_ENDED"]
    assert sum(types_in(run).values()) == delivered


def test_a_run_that_goes_on_after_its_time_is_left_to_the_next_relay(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with OtlpReceiver() as receiver, training(tmp_path, "--pause", "0.02", "--goes-on-s", "-1") as trainer:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        short = ("--follow", "--linger", LONG, "--grace", "1", "--last-scrape", "0.5")
        with relay(run, *short, **endpoint) as first:
            begun(run, first)
            first.send_signal(signal.SIGTERM)
            _, said = first.communicate(timeout=PATIENCE_S)
        entry = manifest(run)["relay"]
        trainer.kill()
        with relay(run, "--follow", "--linger", "0", **endpoint) as second:
            second.communicate(timeout=PATIENCE_S)
        delivered = [json.dumps(str(log)) for log in receiver.logs]

    assert "the run goes on 1 s after this relay was told to end" in said
    assert entry["stopped"]
    assert sum(types_in(run).values()) == len(delivered) == len(set(delivered))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    with (
        training(tmp_path, "--pause", "0.02", "--goes-on-s", "-1") as trainer,
        relay(run, *IN_ORDER, "--last-scrape", LONG) as follower,
    ):
        begun(run, follower)
        follower.send_signal(signal.SIGTERM)
        read_until(follower, "told to end")
        follower.send_signal(number)

        assert 0 == follower.wait(timeout=PATIENCE_S)
        assert trainer.poll() is None
    assert "running" == manifest(run)["status"]


def test_a_second_signal_ends_the_wait_for_the_scrape(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with (
        training(tmp_path, "--pause", "0.02", "--goes-on-s", "0") as trainer,
        relay(run, *IN_ORDER, "--last-scrape", LONG) as follower,
    ):
        begun(run, follower)
        for process in (trainer, follower):
            process.send_signal(signal.SIGTERM)
        read_until(follower, "is served until it was scraped once more")
        follower.send_signal(signal.SIGTERM)

        assert 0 == follower.wait(timeout=PATIENCE_S)


@contextmanager
def told_while_the_endpoint_is_away(directory: Path) -> Iterator[tuple[Path, OtlpReceiver, subprocess.Popen[str]]]:
    """A run and its relay, both just told to end, and a receiver that is unavailable."""
    run = directory / "run"
    with OtlpReceiver() as receiver, training(directory, "--pause", "0.02", "--goes-on-s", "0") as trainer:
        receiver.mode = "unavailable"
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with relay(run, *IN_ORDER, "--last-scrape", "0", "--drain", LONG, **endpoint) as follower:
            begun(run, follower)
            for process in (trainer, follower):
                process.send_signal(signal.SIGTERM)
            yield run, receiver, follower


def test_a_second_signal_ends_the_delivery(tmp_path: Path) -> None:
    with told_while_the_endpoint_is_away(tmp_path) as (run, _, follower):
        wait_for(lambda: manifest(run)["status"] == "interrupted", "the end of the run")
        read_until(follower, "told to end")
        follower.send_signal(signal.SIGTERM)

        assert 3 == follower.wait(timeout=PATIENCE_S)


def test_what_is_left_has_the_time_of_the_delivery_and_not_that_of_a_hurried_end(tmp_path: Path) -> None:
    with told_while_the_endpoint_is_away(tmp_path) as (run, receiver, follower):
        with pytest.raises(subprocess.TimeoutExpired):
            follower.wait(timeout=8)  # longer than the 5 s of a hurried end
        receiver.mode = "ok"
        code = follower.wait(timeout=PATIENCE_S)
        delivered = len(receiver.logs)

    assert 0 == code
    assert sum(types_in(run).values()) == delivered


@pytest.mark.parametrize(("options", "number"), [(IN_ORDER, signal.SIGINT), (("--follow",), signal.SIGTERM)])
def test_ctrl_c_and_a_relay_without_grace_wait_for_nothing(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals
) -> None:
    run = tmp_path / "run"
    with training(tmp_path, "--pause", "0.02", "--goes-on-s", "-1") as trainer, relay(run, *options) as follower:
        begun(run, follower)
        follower.send_signal(number)
        _, said = follower.communicate(timeout=PATIENCE_S)

        assert 0 == follower.returncode
        assert trainer.poll() is None
    assert "told to end" not in said


def test_a_log_that_cannot_show_its_end_is_read_to_its_end_and_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(b'{"event_type": "A", "timestamp": "2026-11-22T19:40:00Z"}\n')
    with relay(log, *IN_ORDER, "--last-scrape", "0", OTEL_METRICS_EXPORTER="prometheus") as follower:
        read_until(follower, "metrics of run")
        follower.send_signal(signal.SIGTERM)

        assert 0 == follower.wait(timeout=PATIENCE_S)


def test_a_negative_time_is_refused_by_the_name_of_its_option(tmp_path: Path) -> None:
    with relay(tmp_path, "--grace", "-1") as refused:
        _, said = refused.communicate(timeout=PATIENCE_S)

    assert 2 == refused.returncode
    assert "--grace" in said
