"""Relays that are killed while a real Prometheus scrapes them: what its users see afterwards."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.ledger import WHOLE, Figures, fault
from tests.faults.runs import lines_of, types_in
from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.relay.processes import announced_url, relay, training
from tests.tools import tool
from tests.waiting import PATIENCE_S, wait_for

RUNS = range(6) if WHOLE else range(1)
LIVES_OF_A_RELAY = 3
ROUNDS, PAUSE_S = "250", "0.01"  # some 14 s, so that every relay is scraped before it is killed
PARTS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
"""Series of a family that may never fall, by its type."""


def counted(prometheus: Prometheus) -> Counter[str]:
    """Events by type, as Prometheus has them."""
    found = prometheus.query("esper_events_total")
    return Counter({series["metric"]["event_type"]: int(float(series["value"][1])) for series in found})


def fallen(prometheus: Prometheus) -> list[str]:
    """Series that went back at some time."""
    names = [name + part for name, kind in prometheus.types().items() for part in PARTS.get(kind, ())]
    resets = {name: [float(one["value"][1]) for one in prometheus.query(f"resets({name}[5m])")] for name in names}
    assert sum(map(len, resets.values())) > 100
    return [name for name, counts in resets.items() if any(counts)]


def norms_within(run: Path, bound: float) -> int:
    """Gradient norms of the log up to ``bound``."""
    updates = [line["data"] for line in lines_of(run) if line["event_type"] == "TAMIYO_POLICY_UPDATE"]
    return sum(update["pre_clip_grad_norm"] <= bound for update in updates)


@fault(
    "relay killed (SIGKILL) three times in a run while a real Prometheus scrapes it every second",
    holds="no counter or histogram ever falls or counts twice: Prometheus sees no reset, and has the log's counts "
    "and gradient norms at the end",
)
@pytest.mark.parametrize("number", RUNS)
def test_prometheus_sees_no_reset_however_often_the_relay_is_killed(
    tmp_path: Path, number: int, figures: Figures
) -> None:
    tool("prometheus")
    moments, run = random.Random(4000 + number), tmp_path / "run"
    server = tmp_path / "prometheus"
    server.mkdir()
    with (
        training(tmp_path, "--pause", PAUSE_S, "--rounds", ROUNDS) as trainer,
        prometheus_on(tmp_path / "prometheus_targets.json", server) as prometheus,
    ):
        wait_for(run.exists, "the start of the run")
        for life in range(1, LIVES_OF_A_RELAY + 1):
            with relay(run, "--follow") as victim:
                announced_url(run, victim.pid)
                prometheus.wait_for(f"sum_over_time(up[1m]) >= {life}")
                time.sleep(moments.uniform(0.5, 2.0))
                victim.kill()
        trainer.communicate(timeout=PATIENCE_S)
        started = time.monotonic()
        with relay(run, "--follow", "--linger", "300") as survivor:
            announced_url(run, survivor.pid)
            expected = types_in(run)
            wait_for(lambda: counted(prometheus) == expected, "the log's counts in Prometheus")
            figures.add(recovered_s=time.monotonic() - started)

            assert [] == fallen(prometheus)
            for expression, number in (
                ("sum(tamiyo_decisions_total)", expected["TAMIYO_DECISION"]),
                ('sum(tamiyo_pre_clip_grad_norm_bucket{le="1.0"})', norms_within(run, 1.0)),
            ):  # a target that is listed anew has no sample for a moment
                wait_for(lambda: prometheus.query(expression), f"a sample of {expression}")  # noqa: B023
                assert number == prometheus.number(expression)
            targets = {json.dumps(series["metric"], sort_keys=True) for series in prometheus.query("up")}
            assert len(targets) == 1  # to its users it was one target all the time
