"""The relay as its users meet it: ports, files, messages and exit statuses."""

import json
import re
import socket
import subprocess
import time

import pytest

from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, manifest, relay, scrape, training
from tests.waiting import PATIENCE_S, wait_for


@pytest.fixture
def finished_run(tmp_path):
    with training(tmp_path, "--rounds", "3") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    return tmp_path / "run"


def test_a_taken_port_is_skipped_and_the_one_in_use_is_said_on_the_console_and_in_run_json(finished_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with relay(finished_run, "--linger", "300", OTEL_EXPORTER_PROMETHEUS_PORT=str(port)) as server:
            url = announced_url(finished_run, server.pid)
            said = server.stderr.readline()

    chosen = int(re.search(r":(\d+)/metrics", url).group(1))
    assert port < chosen <= port + 100
    assert url in said


def test_the_endpoint_is_on_the_loopback_interface_unless_told_otherwise(finished_run):
    with relay(finished_run, "--linger", "300") as server:
        assert announced_url(finished_run, server.pid).startswith("http://127.0.0.1:")


def test_the_endpoint_is_listed_for_prometheus_while_the_relay_lives_and_no_longer(finished_run):
    targets = finished_run.parent / "prometheus_targets.json"
    with relay(finished_run, "--linger", "300") as server:
        url = announced_url(finished_run, server.pid)
        listed = wait_for(lambda: targets.exists() and json.loads(targets.read_text()), "the listing")
        server.terminate()
        server.communicate(timeout=PATIENCE_S)

    address = url.removeprefix("http://").removesuffix("/metrics")
    [entry] = listed
    assert [address] == entry["targets"]
    assert {"job": "esper", "instance": "run"}.items() <= entry["labels"].items()
    assert json.loads(targets.read_text()) == []


def test_a_second_relay_on_one_run_waits_for_the_first_and_is_then_refused_with_one_clear_line(finished_run):
    with relay(finished_run, "--linger", "300") as first:
        announced_url(finished_run, first.pid)
        with relay(finished_run, "--wait", "1") as second:
            _, errors = second.communicate(timeout=PATIENCE_S)

    waiting, refusal = errors.splitlines()
    assert second.returncode == 2
    assert "waiting up to 1 s" in waiting
    assert "another relay follows this run; stop it, or give this one its own --state-dir" in refusal


def test_a_second_relay_takes_over_when_the_first_one_ends(finished_run):
    with relay(finished_run, "--linger", "30") as first:
        announced_url(finished_run, first.pid)
        with relay(finished_run, "--linger", "30") as second:
            assert "waiting up to" in second.stderr.readline()
            first.terminate()
            assert "tamiyo_updates_total" in scrape(announced_url(finished_run, second.pid))


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_EXPORTER_PROMETHEUS_PORT", "ninety"), ("OTEL_METRIC_EXPORT_INTERVAL", "-1")],
)
def test_a_bad_variable_is_one_line_that_names_it(finished_run, variable, value):
    with relay(finished_run, **{variable: value}) as refused:
        _, errors = refused.communicate(timeout=PATIENCE_S)

    assert refused.returncode == 2
    assert f"{variable}={value!r}" in errors
    assert "Traceback" not in errors


def test_a_run_that_does_not_exist_is_one_line_that_says_what_was_looked_for(tmp_path):
    with relay(tmp_path / "nothing") as refused:
        _, errors = refused.communicate(timeout=PATIENCE_S)

    assert refused.returncode == 2
    assert "nothing does not exist: a run directory" in errors
    assert len(errors.splitlines()) == 1


def test_metrics_exporter_none_opens_no_port(finished_run):
    with relay(finished_run, "--linger", "0", OTEL_METRICS_EXPORTER="none") as silent:
        _, errors = silent.communicate(timeout=PATIENCE_S)

    assert silent.returncode == 0
    assert "http://" not in errors


def test_an_empty_metrics_exporter_variable_is_as_if_it_were_not_set(finished_run):
    with relay(finished_run, "--linger", "300", OTEL_METRICS_EXPORTER="") as serving:
        assert "tamiyo_updates_total" in scrape(announced_url(finished_run, serving.pid))


def test_metrics_exporter_prometheus_and_otlp_serves_and_sends(finished_run):
    with (
        OtlpReceiver() as receiver,
        relay(
            finished_run,
            "--linger",
            "30",
            OTEL_METRICS_EXPORTER="prometheus,otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint,
        ) as both,
    ):
        url = announced_url(finished_run, both.pid)
        wait_for(lambda: receiver.metrics, "the metrics' arrival")
        assert "tamiyo_updates_total" in scrape(url)


def test_a_relayed_run_is_not_sent_again_but_still_served(finished_run):
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with relay(finished_run, "--linger", "0", **env) as first:
            first.communicate(timeout=PATIENCE_S)
        sent = len(receiver.logs)
        with relay(finished_run, "--linger", "300", **env) as second:
            text = scrape(announced_url(finished_run, second.pid))

        assert sent > 0
        assert len(receiver.logs) == sent
        assert 'esper_events_total{event_type="TOLARIA_BATCH_COMPLETED",group_id="default",rank="0"} 3.0' in text


def test_from_start_sends_it_again(finished_run):
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        for options in ((), ("--from-start",)):
            with relay(finished_run, "--linger", "0", *options, **env) as once:
                once.communicate(timeout=PATIENCE_S)

        span_ids = [span.span_id for span in receiver.spans]
        assert len(span_ids) == 2 * len(set(span_ids))


def test_a_log_that_cannot_hold_state_is_relayed_all_the_same(finished_run):
    (finished_run / "relay").write_text("in the way")
    with relay(finished_run, "--linger", "300") as server:
        url = announced_url(finished_run, server.pid)
        wait_for(lambda: "tamiyo_updates_total" in scrape(url), "the metrics")
    assert manifest(finished_run)["status"] == "finished"


def test_a_stored_state_of_another_version_is_said_and_the_log_is_read_anew(finished_run):
    with relay(finished_run, "--linger", "0") as first:
        first.communicate(timeout=PATIENCE_S)
    stored = finished_run / "relay" / "metrics.json"
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"state": {}}))
    counted = 'esper_events_total{event_type="TOLARIA_BATCH_COMPLETED",group_id="default",rank="0"} 3.0'
    with relay(finished_run, "--linger", "300") as second:
        url = announced_url(finished_run, second.pid)
        wait_for(lambda: counted in scrape(url), "the counts of the whole log")
        second.terminate()
        _, errors = second.communicate(timeout=PATIENCE_S)

    assert "the stored metrics are unusable" in errors


def test_a_relay_that_ends_when_idle_waits_for_the_first_line_however_long_that_takes(tmp_path):
    run = tmp_path / "run"
    with relay(run, "--follow", "--idle-exit", "1", "--linger", "0") as server:
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(timeout=3)
        run.mkdir(exist_ok=True)
        (run / "events.jsonl").write_bytes(b'{"event_type": "A", "timestamp": "2026-11-22T19:40:00Z"}\n')
        began = time.monotonic()
        assert server.wait(timeout=PATIENCE_S) == 0
        assert time.monotonic() - began >= 1


def test_a_relay_that_ends_when_idle_counts_what_an_earlier_relay_read_as_lines(finished_run, tmp_path):
    (finished_run / "run.json").unlink()
    for _ in range(2):
        with relay(finished_run, "--follow", "--idle-exit", "1", "--linger", "0") as server:
            assert server.wait(timeout=PATIENCE_S) == 0
