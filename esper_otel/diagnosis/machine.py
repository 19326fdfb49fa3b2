"""Rules about the machine: input, memory, the compiler, the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esper_otel.alerts.kinds import BY_NAME
from esper_otel.alerts.memory import RECOMPILATIONS, RECOMPILATIONS_OF_A_FUNCTION
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade, counted
from esper_otel.diagnosis.subject import Row, Subject, clock

WAITING: Final = 0.5
"""Share of the time in which steps wait for data, as the alert and the field's limit."""

LEAST_WAIT_MS: Final = 5.0
"""A wait below that is the cost of collating a batch in Python, and only shows beside a step that does nothing."""

LEAST_ROUNDS: Final = 3
"""Updates of a policy from which on their share of waiting is a state of the run, not of its start."""

GROWTH: Final = 0.1
LEAST_GROWTH_MIB: Final = 32.0
"""Growth of resident memory after the warm-up from which on it is a leak: over its size, and in MiB."""

STEADY: Final = 0.85
"""Share of memory's variance that time explains: a leak is a line; a cache that fills is a step, and has 0.75."""

WARM_UP: Final = 0.25
LEAST_SNAPSHOTS: Final = 5

IDLE_PERCENT: Final = 10.0


_MEMORY: Final = f"""
    WITH m AS (SELECT rank, timestamp, epoch(timestamp) AS s, batch_idx, process_memory_bytes / 1048576.0 AS mib,
    percent_rank() OVER (PARTITION BY rank ORDER BY timestamp) AS part, lead(s) OVER (PARTITION BY rank ORDER BY
    timestamp) AS next FROM infrastructure WHERE process_memory_bytes IS NOT NULL)
    SELECT rank, count(*) AS n, min(timestamp) AS first, max(timestamp) AS last, min(mib) AS least, max(mib) AS most,
    regr_slope(mib, s) AS slope, greatest(regr_r2(mib, s), regr_r2(mib, batch_idx)) AS fit, max(s) - min(s) AS span
    FROM m WHERE part >= {WARM_UP} AND next IS NOT NULL GROUP BY rank
"""
"""A line by the clock or by the steps, whichever fits better: a busy machine trains in bursts.

The last measurement is left out: it may be that of the end, when training has returned and what it held is free."""


def input_bound(run: Subject) -> Iterator[Finding]:
    """Steps wait for the data loader more than they compute."""
    for row in run.rows(
        "SELECT rank, count(*) AS n, sum(dataloader_wait_ms) / sum(step_time_ms) AS share, avg(dataloader_wait_ms) AS"
        " wait,"
        " avg(step_time_ms) AS step, min(timestamp) AS at FROM tolaria_throughput WHERE dataloader_wait_ms IS NOT"
        " NULL AND"
        " step_time_ms > 0 GROUP BY rank ORDER BY rank"
    ):
        if row["share"] > WAITING and row["wait"] > LEAST_WAIT_MS:
            yield _waits(
                row,
                {},
                confidence=Confidence.HIGH if row["n"] > 1 else Confidence.MEDIUM,
                evidence=[Figure("wait in a step", row["wait"], "ms"), Figure("step", row["step"], "ms")],
                query="SELECT timestamp, rank, dataloader_wait_ms, step_time_ms FROM tolaria_throughput ORDER BY"
                " timestamp",
            )


def input_bound_updates(run: Subject) -> Iterator[Finding]:
    """The rounds of a policy wait for data more than they compute, as esper-lite says with each update."""
    for row in run.rows(
        "SELECT rank, group_id, count(*) AS n, avg(dataloader_wait_ratio) AS share, min(timestamp) AS at"
        " FROM tamiyo_updates WHERE isfinite(dataloader_wait_ratio) GROUP BY rank, group_id ORDER BY rank, group_id"
    ):
        if row["n"] >= LEAST_ROUNDS and row["share"] > WAITING:
            yield _waits(
                row,
                {"arm": str(row["group_id"])},
                confidence=Confidence.HIGH,
                evidence=[Figure("share of a round", row["share"]), Figure("rounds", row["n"])],
                query="SELECT timestamp, batch, dataloader_wait_ratio FROM tamiyo_updates ORDER BY timestamp",
            )


def _waits(row: Row, who: dict[str, str], *, confidence: Confidence, evidence: list[Figure], query: str) -> Finding:
    """The finding that a rank waits for data; ``who`` tells more than the rank."""
    return Finding(
        kind="input_bound",
        severity=Grade.WARNING,
        confidence=confidence,
        sentence=f"Rank {row['rank']} waits for data {row['share']:.0%} of the time.",
        evidence=evidence,
        when=f"from {clock(row['at'])}",
        who={"rank": str(row["rank"]), **who},
        query=query,
    )


def memory(run: Subject) -> Iterator[Finding]:
    """Memory that grows to the end, or that a detector found nearly used up."""
    for row in run.rows(_MEMORY):
        yield from _growth(row)
    warned = run.rows(
        "SELECT timestamp, device, gpu_utilization, gpu_allocated_gb, gpu_total_gb FROM memory_warning ORDER BY"
        " timestamp"
    )
    if warned:
        first = warned[0]
        yield Finding(
            kind="memory_growth",
            severity=Grade.WARNING,
            confidence=Confidence.CERTAIN,
            sentence=f"Memory of {first['device']} is nearly used up: {first['gpu_allocated_gb']:.2f} of"
            f" {first['gpu_total_gb']:.2f} GiB.",
            evidence=[Figure("warnings", len(warned)), Figure("in use", first["gpu_utilization"])],
            when=clock(first["timestamp"]),
            query="SELECT timestamp, device, gpu_allocated_gb, gpu_total_gb FROM memory_warning",
        )
    ooms = run.one(
        "SELECT max(n) AS n FROM (SELECT max(num_ooms) AS n FROM allocator_stats UNION ALL SELECT max(cuda_oom_events)"
        " FROM infrastructure)"
    )["n"]
    if ooms:
        yield Finding(
            kind="out_of_memory",
            severity=Grade.CRITICAL,
            confidence=Confidence.CERTAIN,
            sentence=f"The allocator ran out of memory {counted(ooms, 'time')}.",
            evidence=[Figure("errors", ooms)],
            query="SELECT timestamp, device, num_ooms, allocated_bytes, reserved_bytes FROM allocator_stats ORDER BY 1",
        )


def _growth(row: Row) -> Iterator[Finding]:
    if row["n"] < LEAST_SNAPSHOTS or row["slope"] is None or row["fit"] is None:
        return
    grown = row["slope"] * row["span"]
    if row["fit"] > STEADY and grown > max(GROWTH * row["least"], LEAST_GROWTH_MIB):
        yield Finding(
            kind="memory_growth",
            severity=Grade.WARNING,
            confidence=Confidence.HIGH if row["n"] >= 2 * LEAST_SNAPSHOTS else Confidence.MEDIUM,
            sentence=f"Resident memory of rank {row['rank']} grows steadily by {row['slope'] * 60:.0f} MiB a minute, to"
            f" {row['most']:.0f} MiB.",
            evidence=[
                Figure("grown", grown, "MiB"),
                Figure("share that a straight line explains", row["fit"]),
                Figure("readings", row["n"]),
            ],
            when=f"from {clock(row['first'])} to {clock(row['last'])}",
            who={"rank": str(row["rank"])},
            query="SELECT timestamp, rank, process_memory_bytes FROM infrastructure ORDER BY timestamp",
        )


def compiler(run: Subject) -> Iterator[Finding]:
    """The compiler works more than the model: many recompilations, or one function at torch's own limit."""
    found = run.rows(
        "SELECT function, any_value(guard) AS guard, count(*) AS n,"
        " sum(compile_time_s) AS"
        " seconds, min(timestamp) AS at FROM tolaria_recompilation GROUP BY function, location ORDER BY n DESC"
    )
    number = sum(row["n"] for row in found)
    if number > RECOMPILATIONS or (found and found[0]["n"] >= RECOMPILATIONS_OF_A_FUNCTION):
        worst = found[0]
        yield Finding(
            kind="recompilation_storm",
            severity=Grade.WARNING,
            confidence=Confidence.CERTAIN,
            sentence=f"torch.compile recompiled {number} times, {worst['function']} {counted(worst['n'], 'time')}.",
            evidence=[
                Figure("recompilations", number),
                Figure("compiling", sum(row["seconds"] or 0 for row in found), "s"),
            ],
            when=f"from {clock(worst['at'])}",
            cause=str(worst["guard"] or ""),
            query=BY_NAME["TolariaRecompilationStorm"].sql or "",
        )


def gpu(run: Subject) -> Iterator[Finding]:
    """The GPU is almost idle."""
    for row in run.rows(
        "SELECT device, rank, count(gpu_utilization_pct) AS n, avg(gpu_utilization_pct) AS busy, min(timestamp) AS at"
        " FROM"
        " infrastructure WHERE device LIKE 'cuda%' GROUP BY ALL"
    ):
        if row["n"] >= LEAST_SNAPSHOTS and row["busy"] < IDLE_PERCENT:
            yield Finding(
                kind="gpu_idle",
                severity=Grade.WARNING,
                confidence=Confidence.HIGH,
                sentence=f"{row['device']} of rank {row['rank']} is busy {row['busy']:.0f} % of the time.",
                evidence=[Figure("utilisation", row["busy"], "%"), Figure("readings", row["n"])],
                when=f"from {clock(row['at'])}",
                who={"rank": str(row["rank"]), "device": str(row["device"])},
                query="SELECT timestamp, rank, device, gpu_utilization_pct FROM infrastructure ORDER BY timestamp",
            )
