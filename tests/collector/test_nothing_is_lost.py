"""Two agents and two gateways through the failures of a cluster: what was sent arrives, or is counted and paged."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.collector.alarms import fired_on, watched_names
from tests.collector.cable import Cable
from tests.collector.cluster import (
    NO_KUBERNETES,
    QUICK_RETRY,
    RELAY_TOKEN,
    Cluster,
    Stream,
    arrived,
    cluster,
    log_record,
    metric_sample,
    round_spans,
)
from tests.collector.collectors import Collector
from tests.waiting import wait_for

OPEN_ROUNDS = "otelcol_processor_tail_sampling_sampling_traces_on_memory"
QUEUE_SIZE = "otelcol_exporter_queue_size"
KINDS = ("spans", "log_records", "metric_points")


def is_done(through: Cluster) -> bool:
    """Whether every queue is empty and every round decided."""
    every = [collector.telemetry() for collector in (*through.agents, *through.gateways)]
    return not any(telemetry.total(QUEUE_SIZE) or telemetry.total(OPEN_ROUNDS) for telemetry in every)


def wait_until_done(through: Cluster) -> None:
    """Wait for the last delivery: queues may look empty for a moment between two collectors."""
    time.sleep(2.5)
    wait_for(lambda: is_done(through), "the last delivery")
    time.sleep(1.5)
    wait_for(lambda: is_done(through), "the last delivery")


def in_order(samples: list[int]) -> bool:
    """Whether the samples of each of the two instances came in order, repetitions aside."""
    first_seen = list(dict.fromkeys(samples))
    return all(ours == sorted(ours) for ours in ([n for n in first_seen if n % 2 == who] for who in range(2)))


def test_of_a_killed_gateway_only_the_spans_of_open_rounds_are_lost_and_that_many_are_counted(tmp_path: Path) -> None:
    rounds = range(1000, 1016)
    with cluster(tmp_path) as through:
        client, doomed = through.client(0), through.gateways[0]
        for number in rounds:
            client.send("traces", round_spans(number, [f"early{number}"], root=False))
        wait_for(lambda: through.of_gateways(OPEN_ROUNDS) == len(rounds), "the open rounds")
        with Stream(through, signals=("logs", "metrics")) as stream:
            time.sleep(1)
            before = doomed.telemetry()
            doomed.kill()
            for number in rounds:
                client.send("traces", round_spans(number + 100, [f"early{number + 100}"], root=True))
            time.sleep(1.5)
            doomed.start()
            after = doomed.telemetry()
        for number in rounds:
            client.send("traces", round_spans(number, [], root=True))
        wait_until_done(through)
        spans, logs, samples = arrived(through.backend)

    sent = {f"{kind}{n + more}" for kind in ("early", "root") for n in rounds for more in (0, 100)}
    assert stream.expected()[1:] == (logs, set(samples))
    assert in_order(samples)
    assert 0 < before.total(OPEN_ROUNDS) == len(sent - spans)
    assert sent - spans <= {f"early{n}" for n in rounds}
    assert fired_on(tmp_path, "EsperCollectorRoundsLost", before, after)
    assert not fired_on(tmp_path, "EsperCollectorRoundsLost", before, before)


def test_a_gateway_that_is_stopped_in_order_loses_nothing(tmp_path: Path) -> None:
    with cluster(tmp_path) as through:
        with Stream(through) as stream:
            time.sleep(1.2)
            through.gateways[0].terminate()
            time.sleep(1)
            through.gateways[0].start()
            time.sleep(1)
        wait_until_done(through)
        spans, logs, samples = arrived(through.backend)

    assert stream.expected() == (spans, logs, set(samples))


def test_an_agent_that_is_killed_loses_nothing_that_it_took(tmp_path: Path) -> None:
    with cluster(tmp_path) as through:
        with Stream(through) as stream:
            time.sleep(1)
            through.agents[0].kill()
            time.sleep(0.5)
            through.agents[0].start()
            time.sleep(1)
        wait_until_done(through)
        spans, logs, samples = arrived(through.backend)

    assert stream.expected() == (spans, logs, set(samples))


def test_nothing_is_lost_when_the_network_between_agents_and_gateways_is_cut(tmp_path: Path) -> None:
    with ExitStack() as laid:
        cables: list[Cable] = []

        def lay(port: int) -> int:
            cables.append(laid.enter_context(Cable(port)))
            return cables[-1].port

        with cluster(tmp_path, reached_by=lay) as through:
            with Stream(through) as stream:
                for mode in ("whole", "silent", "whole", "refused", "whole"):
                    for cable in cables:
                        cable.set(mode)
                    time.sleep(1.5)
            wait_until_done(through)
            spans, logs, samples = arrived(through.backend)

    assert stream.sent > 50
    assert stream.expected() == (spans, logs, set(samples))
    assert in_order(samples)


def small_queues() -> dict[str, Any]:
    """Queues of a few kilobytes, filled within seconds."""
    queue = {"batch": {"min_size": 1000, "max_size": 4000, "flush_timeout": "200ms"}}
    changed = {"retry_on_failure": QUICK_RETRY, "timeout": "1s", "sending_queue": queue}
    return {"exporters": {f"otlp_http/{name}": changed for name in ("metrics", "traces", "logs")}}


def test_what_a_full_queue_loses_is_counted_and_paged(tmp_path: Path) -> None:
    with ExitStack() as laid:
        cables: list[Cable] = []

        def lay(port: int) -> int:
            cables.append(laid.enter_context(Cable(port)))
            return cables[-1].port

        with cluster(
            tmp_path, gateway_overlay=small_queues(), backend_reached_by=lay, COLLECTOR_QUEUE_BYTES="20000"
        ) as through:
            before = [gateway.telemetry() for gateway in through.gateways]
            cables[0].set("refused")
            with Stream(through) as stream:
                for kind in KINDS:
                    name = f"otelcol_exporter_enqueue_failed_{kind}"
                    wait_for(lambda n=name: min(g.telemetry().total(n) for g in through.gateways), f"loss of {kind}")
                filling = through.gateways[0].telemetry()
                cables[0].set("whole")
                time.sleep(1)
            wait_until_done(through)
            after = [gateway.telemetry() for gateway in through.gateways]
            spans, logs, samples = arrived(through.backend)

    all_spans, all_logs, all_samples = stream.expected()
    assert (all_logs, all_samples) == (logs, set(samples))
    assert len(all_spans - spans) == sum(t.total("otelcol_exporter_enqueue_failed_spans") for t in after) > 0
    assert fired_on(tmp_path, "EsperCollectorNotQueued", before[0], after[0])
    assert fired_on(tmp_path, "EsperCollectorRefusing", before[0], after[0])
    assert fired_on(tmp_path, "EsperCollectorQueueFilling", filling, filling)
    assert not fired_on(tmp_path, "EsperCollectorNotQueued", before[0], before[0])
    assert {f"otelcol_exporter_enqueue_failed_{kind}" for kind in KINDS} <= watched_names(after[0])
    assert {f"otelcol_receiver_refused_{kind}" for kind in KINDS} <= watched_names(after[0])
    assert {f"otelcol_exporter_sent_{kind}" for kind in KINDS} <= watched_names(after[0])
    assert {QUEUE_SIZE, "otelcol_exporter_queue_capacity", OPEN_ROUNDS} <= watched_names(after[0])


def test_a_sender_with_a_wrong_token_is_turned_away(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(RELAY_TOKEN)
    with cluster(tmp_path) as through:
        statuses = []
        for token in ("wrong", "", RELAY_TOKEN):
            client = through.client(0, token)
            statuses.append(client.attempt("logs", log_record(f"said with {token}")))
        wait_for(lambda: arrived(through.backend)[1], "the log record")
        logs = arrived(through.backend)[1]

    assert [401, 401, 200] == statuses
    assert {f"said with {RELAY_TOKEN}"} == logs


def test_an_agent_with_a_wrong_token_is_turned_away_and_what_that_loses_is_counted_and_paged(tmp_path: Path) -> None:
    with cluster(tmp_path, agent_token="wrong") as through:
        client, agent = through.client(0), through.agents[0]
        before = agent.telemetry()
        client.send("traces", round_spans(1, ["child"], root=True))
        client.send("logs", log_record("log"))
        client.send("metrics", metric_sample(1))
        failed = {f"otelcol_exporter_send_failed_{kind}" for kind in KINDS}
        wait_for(lambda: failed <= watched_names(agent.telemetry()), "the count of what was lost")
        after = agent.telemetry()

        assert [2, 1, 1] == [after.total(f"otelcol_exporter_send_failed_{kind}") for kind in KINDS]
        assert (set(), set(), []) == arrived(through.backend)
        assert "Unauthenticated" in agent.said()
    assert fired_on(tmp_path, "EsperCollectorSendFailed", before, after)


def test_a_collector_without_memory_refuses_and_says_so(tmp_path: Path) -> None:
    limit = {"limit_mib": 2, "spike_limit_mib": 1, "limit_percentage": 0, "spike_limit_percentage": 0}
    overlay = {**NO_KUBERNETES, "processors": {"memory_limiter": limit}}
    with cluster(tmp_path, agent_overlay=overlay) as through:
        client, agent = through.client(0), through.agents[0]
        before = agent.telemetry()
        time.sleep(1.5)
        statuses = [
            client.attempt("traces", round_spans(1, [], root=True)),
            client.attempt("logs", log_record("log")),
            client.attempt("metrics", metric_sample(1)),
        ]
        after = agent.telemetry()

    assert [503, 503, 503] == statuses
    assert {f"otelcol_processor_memory_limiter_refused_{kind}" for kind in KINDS} <= watched_names(after)
    assert fired_on(tmp_path, "EsperCollectorMemoryLimit", before, after)


def test_a_round_for_which_there_is_no_room_is_counted_and_paged(tmp_path: Path) -> None:
    with cluster(tmp_path, COLLECTOR_OPEN_ROUNDS="2", COLLECTOR_DECISION_WAIT="3s") as through:
        client = through.client(0)
        before = through.gateways[0].telemetry()
        for number in range(20):
            client.send("traces", round_spans(number, [f"early{number}"], root=False))
        name = "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"
        wait_for(lambda: through.gateways[0].telemetry().total(name), "a dropped round")
        after = through.gateways[0].telemetry()

    assert name in watched_names(after)
    assert fired_on(tmp_path, "EsperCollectorRoundsDroppedEarly", before, after)


def test_a_collector_alone_serves_what_its_liveness_is_judged_by(tmp_path: Path) -> None:
    with Collector("local", tmp_path) as collector:
        names = watched_names(collector.telemetry())

    assert {"otelcol_process_uptime", "otelcol_process_memory_rss"} <= names
