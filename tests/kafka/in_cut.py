"""The broker between agents and gateways is killed under load: everything arrives, and counters count once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cluster.arrived import Losses, losses
from tests.collector.collectors import Collector
from tests.kafka import measured
from tests.kafka.hop import QUEUE_SIZE, Hop, Peak, hop, watch
from tests.kafka.ranks import JOBS, RANKS, Rank, ranks
from tests.kafka.tally import Series, Tally
from tests.waiting import wait_for

BEFORE_S = 30.0
AFTER_S = 30.0
QUIET_S = 15.0
MOST_OPEN_S = 60.0
"""A round waits no longer for its root in a gateway, so that of a cut none is left there."""

pytestmark = pytest.mark.timeout(7200)
MIB = 1 << 20
OPEN_ROUNDS = "otelcol_processor_tail_sampling_sampling_traces_on_memory"
EVENTS = "esper.events"


def test_nothing_is_lost_and_no_counter_counts_twice_when_the_hop_is_cut_under_load(
    cut_s: float, tmp_path: Path
) -> None:
    before, during = dict[str, Peak](), dict[str, Peak]()
    with (
        hop(tmp_path, decision_wait_s=min(MOST_OPEN_S, cut_s / 4)) as through,
        ranks(tmp_path / "nodes", *(through.relay_variables(n) for n in range(2))) as four,
    ):
        agents = {f"agent{n}": agent for n, agent in enumerate(through.agents)}
        wait_for(lambda: len(instances(through.sink)) == len(four), "the first metrics of every rank")
        watch(agents, before, time.monotonic() + BEFORE_S)

        cut_at = time.monotonic()
        through.broker.kill()
        watch(agents, during, cut_at + cut_s / 2)
        through.gateways[1].kill()
        through.agents[0].kill()
        through.agents[0].start()
        through.gateways[1].start()
        watch(agents, during, cut_at + cut_s)
        recorded = recorded_by(four)
        missing = len(recorded - through.sink.there.events.keys())
        through.broker.start()
        back_at = time.monotonic()
        wait_for(lambda: through.sink.has(recorded), "the delivery of what was recorded until then", every_s=1.0)
        caught_up_s = time.monotonic() - back_at
        watch(agents, during, time.monotonic() + AFTER_S)
        for rank in four:
            rank.end()
        wait_until_quiet(through, through.gateways)
        told, of_log = told_by(four, tmp_path), [rank.by_type() for rank in four]

    found = lost_of(told, through.sink)
    counters = through.sink.counters
    measured.note("load", f"{len(four)} ranks of {len(JOBS)} jobs on {len(RANKS)} nodes, a round a second each")
    measured.note("from the broker's end (SIGKILL) until it listened again, s", f"{back_at - cut_at:.0f}")
    measured.note("in the middle of that", "an agent and a gateway killed (SIGKILL) and started again")
    measured.note("lost", found)
    measured.note("not yet arrived when the broker came back, of log records", missing)
    measured.note("from its start until those had arrived, s", f"{caught_up_s:.0f}")
    measured.note("counters, histograms among them", f"{len(counters)} series")
    measured.note("samples of them", sum(len(samples.values) for samples in counters.values()))
    measured.note("samples that arrived twice", sum(samples.repeated for samples in counters.values()))
    measured.note("samples that arrived after a newer one", sum(samples.late for samples in counters.values()))
    for name, peak in during.items():
        measured.note(f"queues of {name} at the peak, MiB", f"{peak.queued / MIB:.1f}; files {peak.on_disk / MIB:.0f}")
        measured.note(
            f"memory of {name}, MiB", f"{before[name].memory / MIB:.0f} before, {peak.memory / MIB:.0f} at the peak"
        )
    measured.write()

    assert found.nothing
    assert found.events == sum(counts.total() for counts in of_log)
    assert [] == [series for series, samples in counters.items() if not samples.never_falls]
    assert last_values(told) == last_values(through.sink)
    assert {frozenset(counts.items()) for counts in of_log} == events_counted(through.sink)


def test_a_gateway_that_never_comes_back_costs_its_open_rounds_and_the_other_reads_on(tmp_path: Path) -> None:
    with (
        hop(tmp_path, decision_wait_s=5) as through,
        ranks(tmp_path / "nodes", *(through.relay_variables(n) for n in range(2))) as four,
    ):
        wait_for(lambda: len(instances(through.sink)) == len(four), "the first metrics of every rank")
        through.gateways[1].kill()
        then = len(recorded_by(four))
        wait_for(lambda: len(recorded_by(four)) > then + 100 * len(four), "rounds after that", every_s=1.0)
        everything = recorded_by(four)
        wait_for(lambda: through.sink.has(everything), "the other gateway to read it all", every_s=1.0)
        for rank in four:
            rank.end()
        wait_until_quiet(through, through.gateways[:1])
        told = told_by(four, tmp_path)

    found = lost_of(told, through.sink)
    measured.note("a gateway killed without a cut, and never started again", found)
    measured.write()

    assert 0 == found.lost_events
    assert [] == [series for series, samples in through.sink.counters.items() if not samples.never_falls]
    assert last_values(told) == last_values(through.sink)


def recorded_by(four: list[Rank]) -> set[str]:
    """Ids of all events so far."""
    return set[str]().union(*(rank.events() for rank in four))


def told_by(four: list[Rank], directory: Path) -> Tally:
    """Everything that follows from the logs of all ranks."""
    with Tally() as told:
        for n, rank in enumerate(four):
            rank.tell(told, directory / f"told{n}")
    return told


def lost_of(told: Tally, sink: Tally) -> Losses:
    """Compare ids of events and spans."""
    return losses((set(told.there.events), set(told.there.spans)), sink.there)


def last_values(tally: Tally) -> dict[Series, float]:
    """The last value of each counter."""
    return {series: samples.last for series, samples in tally.counters.items()}


def instances(sink: Tally) -> set[str]:
    """Those that have said how many events they counted."""
    return {instance for instance, name, _ in list(sink.counters) if name == EVENTS}


def events_counted(sink: Tally) -> set[frozenset[tuple[str, float]]]:
    """Number of events of each type that each instance says it counted."""
    found: dict[str, dict[str, float]] = {}
    for (instance, name, said), samples in sink.counters.items():
        if name == EVENTS and samples.last:
            found.setdefault(instance, {})[dict(said)["event_type"]] = samples.last
    return {frozenset(counts.items()) for counts in found.values()}


def wait_until_quiet(through: Hop, gateways: list[Collector]) -> None:
    """Wait until all queues are empty, no round is open, and nothing has come for a while."""
    seen, since = -1, time.monotonic()

    def is_quiet() -> bool:
        nonlocal seen, since
        every = [collector.telemetry() for collector in (*through.agents, *gateways)]
        is_busy = any(each.total(QUEUE_SIZE) or each.total(OPEN_ROUNDS) for each in every)
        if is_busy or seen != through.sink.taken:
            seen, since = through.sink.taken, time.monotonic()
        return time.monotonic() - since > QUIET_S

    wait_for(is_quiet, "quiet", every_s=1.0)
