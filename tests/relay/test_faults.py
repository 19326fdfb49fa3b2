"""What holds when processes are killed and endpoints are away; every process here is a real one."""

import fcntl
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.processes import (
    announced_url,
    events_by_type,
    lines_of,
    manifest,
    relay,
    samples,
    scrape,
    training,
    types_in,
)
from tests.waiting import PATIENCE_S, wait_for

KEPT_NS = 50_000_000
"""Events older than this survive the death of their process."""


def test_a_killed_trainer_loses_nothing_older_than_50_ms_and_is_reported_as_died(tmp_path):
    run = tmp_path / "run"
    with training(tmp_path, "--relay", "--linger", "300", "--pause", "0.002") as trainer:
        url = announced_url(run)
        rounds = [trainer.stdout.readline().split() for _ in range(8)]
        time.sleep(random.uniform(0.0, 0.2))
        killed_ns = time.time_ns()
        trainer.kill()
        rounds += [line.split() for line in trainer.stdout.read().splitlines() if len(line.split()) == 2]
    safe = max(int(number) for number, printed_ns in rounds if int(printed_ns) < killed_ns - KEPT_NS)

    text = wait_for(
        lambda: (found := scrape(url)) and 'esper_run_status{esper_run_state="died"} 1.0' in found and found,
        "the report of the death",
    )

    assert types_in(run)["TOLARIA_BATCH_COMPLETED"] >= safe
    assert events_by_type(text) == types_in(run)
    assert manifest(run)["status"] == "died"
    assert lines_of(run)[-1]["data"]["outcome"] == "died"
    stop_relay(run)


def test_a_trainer_that_ends_well_is_reported_as_finished_and_its_relay_ends_by_itself(tmp_path):
    run = tmp_path / "run"
    with training(tmp_path, "--relay", "--rounds", "3") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    announced_url(run)

    wait_for(lambda: is_gone(run), "the relay's end")
    assert manifest(run)["status"] == "finished"


def test_a_relay_ends_when_its_trainer_is_gone_and_the_run_was_deleted(tmp_path):
    run = tmp_path / "run"
    with training(tmp_path, "--relay", "--linger", "0", "--pause", "0.01") as trainer:
        announced_url(run)
        started = manifest(run)["relay"]["pid"]
        trainer.kill()
        while run.exists():  # the relay may just be writing in it
            shutil.rmtree(run, ignore_errors=True)

    wait_for(lambda: not is_running(started), "the relay's end")


@pytest.mark.parametrize("seed", range(3))
def test_a_relay_that_is_killed_again_and_again_ends_with_the_counts_of_the_log(tmp_path, seed):
    moments = random.Random(seed)
    run = tmp_path / "run"
    with training(tmp_path, "--pause", "0.001", "--rounds", "400") as trainer:
        for _ in range(4):
            with relay(run, "--follow") as victim:
                announced_url(run, victim.pid)
                time.sleep(moments.uniform(0.0, 1.5))
                victim.kill()
        trainer.communicate(timeout=PATIENCE_S)
    with relay(run, "--follow", "--linger", "300") as survivor:
        url = announced_url(run, survivor.pid)
        expected = types_in(run)
        wait_for(lambda: events_by_type(scrape(url)) == expected, "the log's counts")
        text = scrape(url)

    assert events_by_type(text) == expected
    labels = (("from_stage", "TRAINING"), ("group_id", "default"), ("rank", "0"), ("to_stage", "PRUNED"))
    assert samples(text)["kasmina_stage_changes_total", labels] == 400
    assert samples(text)["tamiyo_pre_clip_grad_norm_count", (("group_id", "default"), ("rank", "0"))] == 400
    violations = (("group_id", "default"), ("rank", "0"), ("severity", "critical"))
    assert samples(text)["tamiyo_grad_norm_violations_total", violations] == 400 // 7


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_endpoint_that_is_away_for_the_whole_run_gets_everything_once_it_is_back(tmp_path, protocol):
    run = tmp_path / "run"
    with OtlpReceiver() as receiver:
        receiver.mode = "unavailable"
        endpoint = receiver.http_endpoint if protocol.startswith("http") else receiver.grpc_endpoint
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        with relay(run, "--follow", "--linger", "0", **env) as follower:
            with training(tmp_path, "--rounds", "30", "--pause", "0.001") as trainer:
                trainer.communicate(timeout=PATIENCE_S)
            time.sleep(1.0)
            assert receiver.requests == []
            receiver.mode = "ok"
            _, errors = follower.communicate(timeout=PATIENCE_S)

        expected = types_in(run)
        delivered = [attributes(log)["esper.event.id"] for log in receiver.logs]
        assert follower.returncode == 0, errors
        assert sorted(delivered) == sorted(line["event_id"] for line in lines_of(run))
        assert sum(span.name == "simic.round" for span in receiver.spans) == expected["TOLARIA_BATCH_COMPLETED"]
        assert sum(span.name == "kasmina.seed" for span in receiver.spans) == expected["SEED_GERMINATED"]
        assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)
        last = [metric for metric in receiver.metrics if metric.name == "tamiyo.updates"][-1]
        assert last.sum.data_points[0].as_double == expected["TAMIYO_POLICY_UPDATE"]


def test_the_scrape_goes_on_while_the_otlp_endpoint_hangs(tmp_path):
    run = tmp_path / "run"
    with OtlpReceiver() as receiver:
        receiver.mode = "hang"
        with (
            training(tmp_path, "--pause", "0.001", "--rounds", "200") as trainer,
            relay(run, "--follow", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as follower,
        ):
            url = announced_url(run, follower.pid)
            trainer.communicate(timeout=PATIENCE_S)
            expected = types_in(run)
            wait_for(lambda: events_by_type(scrape(url)) == expected, "the log's counts")


def test_a_relay_that_cannot_deliver_says_how_to_deliver_the_rest_and_the_rest_is_delivered(tmp_path):
    run = tmp_path / "run"
    with training(tmp_path, "--rounds", "20") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        receiver.mode = "unavailable"
        with relay(run, "--drain", "1", "--linger", "0", **env) as first:
            _, errors = first.communicate(timeout=PATIENCE_S)
        assert first.returncode == 3
        assert f"esper-otel relay {run}" in errors
        receiver.mode = "ok"
        with relay(run, "--linger", "0", **env) as second:
            second.communicate(timeout=PATIENCE_S)

        assert second.returncode == 0
        assert len(receiver.logs) == len(lines_of(run))


def test_a_relay_told_to_stop_stores_its_position_and_the_next_one_sends_nothing_twice(tmp_path):
    run = tmp_path / "run"
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with training(tmp_path, "--pause", "0.001", "--rounds", "200") as trainer:
            with relay(run, "--follow", **env) as first:
                announced_url(run, first.pid)
                time.sleep(0.7)
                first.send_signal(signal.SIGTERM)
                first.communicate(timeout=PATIENCE_S)
            trainer.communicate(timeout=PATIENCE_S)
        with relay(run, "--follow", "--linger", "0", **env) as second:
            second.communicate(timeout=PATIENCE_S)

        delivered = [attributes(log)["esper.event.id"] for log in receiver.logs]
        assert (first.returncode, second.returncode) == (0, 0)
        assert sorted(delivered) == sorted(line["event_id"] for line in lines_of(run))
        assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_gone(run: Path) -> bool:
    """Whether the relay's lock is free: nobody works on the run."""
    with (run / "relay" / "lock").open("r+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def stop_relay(run: Path) -> None:
    os.kill(manifest(run)["relay"]["pid"], signal.SIGTERM)
    wait_for(lambda: is_gone(run), "the relay's end")
