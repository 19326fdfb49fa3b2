"""Which rounds the gateway keeps as traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from tests.collector.cluster import Client, Cluster, arrived, cluster, round_spans
from tests.relay.test_anomalies_of_other_ranks import HEALTHY as HEALTHY_RANK
from tests.relay.test_anomalies_of_other_ranks import ROLLED_BACK, spans_of
from tests.waiting import wait_for

OPEN_ROUNDS = "otelcol_processor_tail_sampling_sampling_traces_on_memory"
HEALTHY, ANOMALOUS, FAULTY, LONG, WITHOUT_ROOT, OTHER_RANK, RUN_STARTED, RUN_ENDED = range(8)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Rounds of every sort went through, and none of the healthy ones was to be kept."""
    with cluster(tmp_path_factory.mktemp("sampled"), COLLECTOR_DECISION_WAIT="4s") as through:
        client = through.client(0)
        send_rounds(client)
        wait_for(lambda: "late5" in arrived(through.backend)[0], "the last span")
        wait_for(lambda: through.of_gateways(OPEN_ROUNDS) == 0, "the last decision")
        wait_for(lambda: "early4" in arrived(through.backend)[0], "the round without a root")
        yield through


def send_rounds(client: Client) -> None:
    """Spans come while their round goes on, the root comes last; agents may be slower than others."""
    for number in (ANOMALOUS, HEALTHY, LONG, WITHOUT_ROOT):
        client.send("traces", round_spans(number, [f"early{number}"], root=False))
    client.send("traces", round_spans(FAULTY, ["early2"], root=False, error=True))
    for number, anomalous in ((HEALTHY, False), (FAULTY, False), (ANOMALOUS, True), (LONG, True), (OTHER_RANK, True)):
        client.send("traces", round_spans(number, [], root=True, anomalous=anomalous))
    for number, name in ((RUN_STARTED, "esper.run"), (RUN_ENDED, "esper.run.end")):
        client.send("traces", round_spans(number, [], root=True, anomalous=False, root_name=name))
    client.send("traces", round_spans(OTHER_RANK, ["late5"], root=False))
    client.send("traces", encode_spans(spans_of(ROLLED_BACK, rank=1)))
    client.send("traces", encode_spans(spans_of(HEALTHY_RANK, rank=0)))


def test_an_anomalous_round_is_kept_whole_though_only_its_root_which_comes_last_says_so(sampled: Cluster) -> None:
    assert {"early1", "root1", "early3", "root3"} <= arrived(sampled.backend)[0]


def test_a_round_that_was_anomalous_on_another_rank_is_kept_whole_though_its_root_says_that_all_is_well(
    sampled: Cluster,
) -> None:
    kept = [span for span in sampled.backend.spans if span.name.startswith("simic.round")]

    assert ["simic.round", "simic.round.anomaly"] == sorted(span.name for span in kept)
    assert 1 == len({span.trace_id for span in kept})


def test_a_round_with_an_error_in_any_span_is_kept_whole(sampled: Cluster) -> None:
    assert {"early2", "root2"} <= arrived(sampled.backend)[0]


def test_a_round_whose_root_never_comes_is_kept(sampled: Cluster) -> None:
    assert "early4" in arrived(sampled.backend)[0]


def test_a_span_that_comes_after_the_root_is_kept_with_its_round(sampled: Cluster) -> None:
    assert {"root5", "late5"} <= arrived(sampled.backend)[0]


def test_a_healthy_round_is_not_kept_when_no_share_of_them_is_asked_for(sampled: Cluster) -> None:
    assert not {"early0", "root0"} & arrived(sampled.backend)[0]


def test_start_and_end_of_a_run_are_kept(sampled: Cluster) -> None:
    assert {"esper.run", "esper.run.end"} <= arrived(sampled.backend)[0]


def test_the_share_of_healthy_rounds_that_is_asked_for_is_kept(tmp_path: Path) -> None:
    with cluster(tmp_path, COLLECTOR_HEALTHY_PERCENT="50") as through:
        client = through.client(1)
        for number in range(200):
            client.send("traces", round_spans(number, [], root=True, anomalous=False))
        wait_for(
            lambda: through.of_gateways("otelcol_processor_tail_sampling_global_count_traces_sampled") == 200, "all"
        )
        wait_for(lambda: through.of_gateways(OPEN_ROUNDS) == 0, "the last decision")
        kept = through.of_gateways("otelcol_processor_tail_sampling_global_count_traces_sampled", sampled="true")

    assert 60 < kept < 140
