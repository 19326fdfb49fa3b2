"""The tables of ``docs/guides/scale.md``, which the command writes between marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.scaling.rank import INTERVAL_S, Rank
from benchmarks.scaling.relabelling import droppable, rule, sample_names
from benchmarks.scaling.runs import Run
from benchmarks.scaling.sizing import Need
from benchmarks.scaling.steps import Climb
from esper_otel.signals.cardinality import BUDGET, cardinalities, series_of_a_gpu
from esper_otel.signals.registry import SIGNALS


def put(text: str, name: str, body: str) -> str:
    """``text`` with ``body`` between the marks called ``name``.

    Raises:
        ValueError: the marks are not there.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no section between '<!-- {name} -->' and '<!-- /{name} -->'")
    return pattern.sub(lambda found: f"{found[1]}\n{body.strip()}\n\n{found[2]}", text)


def publish(path: Path, sections: Mapping[str, str], *, is_written: bool) -> None:
    """Print the sections, and put them on the page if asked.

    Raises:
        ValueError: the page lacks the marks of one.
    """
    text = path.read_text(encoding="utf-8")
    for name, body in sections.items():
        print(f"## {name}\n\n{body}")
        text = put(text, name, body) if is_written else text
    if is_written:
        path.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def budget(runs: Sequence[Run]) -> str:
    """The budget, its most expensive metrics, and the runs' use of it."""
    found = sorted(cardinalities(SIGNALS).values(), key=lambda one: (-one.planned_series, one.name))
    sums = table(
        ("series of one rank in one group", "budget", "now"),
        [
            ("one metric, planned rank", f"{BUDGET.metric:,}", f"{found[0].planned_series:,}"),
            ("all metrics, planned rank", f"{BUDGET.rank:,}", f"{sum(one.planned_series for one in found):,}"),
            ("one metric at its bounds", f"{BUDGET.metric_bound:,}", f"{max(o.bound_series for o in found):,}"),
            ("all metrics at their bounds", f"{BUDGET.rank_bound:,}", f"{sum(o.bound_series for o in found):,}"),
        ],
    )
    rows = [
        (
            f"`{one.name}`",
            " × ".join(f"{n} {a}" for a, n in one.planned),
            f"{one.planned_series}",
            f"{one.bound_series:,}",
        )
        for one in found[:10]
    ]
    dearest = table(("dearest metrics", "attributes", "planned", "at the bounds"), rows)
    measured = [
        (
            run.name,
            f"{run.scrape.event_series:,}",
            f"{run.scrape.event_series / BUDGET.rank:.0%}",
            f"{run.scrape.all_series - run.scrape.event_series}",
        )
        for run in runs
    ]
    return (
        f"{sums}\n{dearest}\n"
        + table(("run", "series of its events", "of the budget", "the relay's own"), measured)
        + f"\nA GPU adds at most {series_of_a_gpu()} series to its relay.\n"
    )


def ranks(measured: dict[str, Rank]) -> str:
    """One rank per round and per second, a column for each run."""
    rows: list[tuple[str, list[str]]] = [
        ("active series", [f"{r.series:,}" for r in measured.values()]),
        (f"samples/s at {INTERVAL_S:g} s", [f"{r.samples_per_s:,.0f}" for r in measured.values()]),
        ("one OTLP export of metrics, kB", [f"{r.metrics_bytes / 1e3:,.0f}" for r in measured.values()]),
        ("OTLP metrics, kB/s", [f"{r.metrics_bytes_per_s / 1e3:,.1f}" for r in measured.values()]),
        ("spans a round", [f"{r.spans:,.0f}" for r in measured.values()]),
        ("bytes a span", [f"{r.span_bytes / r.spans:,.0f}" for r in measured.values()]),
        ("log records a round", [f"{r.records:,.0f}" for r in measured.values()]),
        ("bytes a log record", [f"{r.record_bytes / r.records:,.0f}" for r in measured.values()]),
        ("event log a round, kB", [f"{r.log_bytes / 1e3:,.0f}" for r in measured.values()]),
        ("the same with zstandard, kB", [f"{r.log_zstd_bytes / 1e3:,.0f}" for r in measured.values()]),
        ("rounds always kept as traces", [f"{r.anomalous_share:.0%}" for r in measured.values()]),
        ("time of a round, s", [_live(r, f"{r.round_s:,.1f}") for r in measured.values()]),
        ("OTLP in all, kB/s", [_live(r, f"{r.bytes_per_s / 1e3:,.0f}") for r in measured.values()]),
        ("relay: CPU ms a round", [_live(r, f"{(r.relay_cpu_s or 0) * 1e3:,.0f}") for r in measured.values()]),
        (
            "relay: cores",
            [_live(r, f"{(r.relay_cpu_s or 0) / r.round_s:.3f}") for r in measured.values()],
        ),
        ("relay: largest memory, MiB", [f"{r.relay_peak_bytes / 2**20:,.0f}" for r in measured.values()]),
    ]
    return table(("one rank", *measured), [(name, *cells) for name, cells in rows])


def _live(rank: Rank, text: str) -> str:
    """Figures of a replay, without those that depend on its pace: a replay is faster than its run."""
    return "" if rank.relay_cpu_s is None else text


def steps(climbed: Climb) -> str:
    """The steps of one climb, and the cost of a rank in the gateway."""
    rows = [
        (
            f"{step.ranks}",
            f"{step.items_per_s:,.0f}",
            f"{step.cpu_s_per_s:.2f}",
            f"{step.cpu_s_per_s / step.ranks * 1e3:.1f}",
            f"{step.memory_bytes / 2**20:,.0f}",
            f"{step.refused:,.0f}",
            step.lag or "–",
        )
        for step in climbed.steps
    ]
    head = ("ranks", "items/s", "CPU, cores", "CPU a rank, ms/s", "memory, MiB", "refused items", "lag")
    return f"{_conclusion(climbed)}\n\n{table(head, rows)}"


def _conclusion(climbed: Climb) -> str:
    shape, best = climbed.shape, climbed.sustained
    manner = "with tail sampling" if shape.tail_sampling else "without tail sampling"
    said = f"{shape.cores} cores, {shape.memory_mib} MiB, {manner}, rounds of {climbed.plan.round_s:.1f} s: "
    if best is None:
        return f"{said}not even {climbed.steps[0].ranks} ranks were sustained."
    memory = climbed.memory_per_rank_bytes
    said += f"**{best.ranks} ranks** sustained, {best.cpu_s_per_s / best.ranks * 1e3:.1f} ms of CPU a second for each"
    said += f" and {memory / 2**20:.1f} MiB of memory for each more." if memory is not None else "."
    refused = next((step.ranks for step in climbed.steps if step.refused), None)
    return f"{said} Refused at {refused}." if refused else f"{said} No step was refused."


def needs(computed: Sequence[Need]) -> str:
    """Needs of different numbers of ranks."""
    rows = [
        (
            f"{one.ranks:,}",
            f"{one.series:,}",
            f"{one.samples_per_s:,.0f}",
            f"{one.agents:,}" if one.agents else "`local.yaml`",
            f"{one.gateways:,}" if one.gateways else "–",
            one.metrics,
            f"{one.traces_bytes_per_s / 1e6:,.2f} MB/s: {one.traces}",
            f"{one.logs_bytes_per_day / 1e12:,.3g} TB: {one.logs}",
        )
        for one in computed
    ]
    head = ("ranks", "series", "samples/s", "agents", "gateways", "metrics", "traces kept", "logs a day")
    return table(head, rows)


def relabelling(run: Run) -> str:
    """The rule that drops per-environment series, and its saving in ``run``."""
    names = sample_names()
    saved = sum(count for name, count in run.scrape.series.items() if name in names)
    return (
        f"It drops {len(droppable())} metrics; in the {run.name} run {saved:,} of {run.scrape.all_series:,} series "
        f"({saved / run.scrape.all_series:.0%}).\n\n```yaml\n{rule()}```\n"
    )
