"""docs/evidence/benchmarks.md out of the figures of one or several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.table.behind import behind
from benchmarks.table.cells import Row, both, figure, found, ratio, table

PROFILED: Final = Path(__file__).with_name("profiled.md")
"""What profiling found: measured by hand when it was changed."""

Run = dict[str, Any]
RATES: Final = (100, 1_000, 10_000)
OURS: Final = "esper_otel"

HEAD: Final = """# Benchmarks

Made by `make bench`; do not edit. Two runs on one machine, one after the other: where a cell holds two figures, they
are the first run's and the second's. Compare figures with each other and not with another machine's.
"""

SLOWDOWN: Final = """## How much slower training becomes

A training step of about 4 ms on one thread of the CPU (`benchmarks/alternatives/step.py`), with so many events recorded
for each second of undisturbed training, against the same step without. Median ratio of blocks in the order without,
with, with, without, in one process; in brackets its bootstrap interval of 95 %. Quadruples whose blocks without
recording differ by over 15 % are left out: something else was at work. Each way brings the event into its own form on
the training thread, ours by building it; a second row of ours has the event ready, which tells the two apart. Ours runs
with its relay as a child that is scraped and sends everything on by OTLP; OpenTelemetry and prometheus_client record
every number as a gauge. A decision holds 40 values, 23 of them numbers, a policy update 120 numbers. At 0 events the
way is open and idle.
"""

IN_THE_RELAY: Final = """In the relay, CPU time of the whole process for a decision, and what one core sustains by that
and by the clock:
"""

PARTS: Final = """### What it consists of

Each part alone, decisions, measured like the rows above. A neighbour is a process that has nothing to do with training.
"""

CLOCK: Final = """What the training thread pays for so many events right after a step, µs by the clock. The first one
finds the interpreter's code and data displaced from the caches: at 100 and 1,000 events a second that is nearly all of
the cost.
"""

FOOTPRINT: Final = """## What a layer adds to a training process

Before the first event, in a process that has imported torch.

"""

STALLS: Final = """### Stalls

Time of single steps at 10,000 decisions a second, ms, and the share of steps that took over 2 ms longer than the median
without recording. The columns without show what the machine itself does.
"""


def page(runs: Sequence[Run]) -> str:
    """The whole page."""
    parts = [
        HEAD,
        _machine(runs),
        "## Where we are behind\n",
        behind(runs),
        SLOWDOWN,
        *[_slowdown(runs, payload) for payload in ("decision", "policy update")],
        STALLS,
        _stalls(runs),
        _lost(runs),
        PARTS,
        _parts(runs),
        CLOCK,
        _clock(runs),
        "## What an event costs\n\nOn the training thread, and on the log's two threads beside it:\n",
        _emit(runs),
        IN_THE_RELAY,
        _relay(runs),
        _by_stage(runs),
        _growth(runs),
        _scrape(runs),
        _footprint(runs),
        PROFILED.read_text(),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _machine(runs: Sequence[Run]) -> str:
    lines = [f"* {value}" for value in runs[0]["machine"].values()]
    for number, run in enumerate(runs, 1):
        (before, after), size = run["load"], run["size"]
        lines.append(
            f"* run {number}: {run['date']} UTC, {run['minutes']:.0f} minutes, load {before:.1f} before and "
            f"{after:.1f} at its end (of it about 3 are the benchmark's own); {size['ours']} quadruples of blocks for "
            f"each of our figures, up to {size['quads']} for the alternatives'"
        )
    notes = dict.fromkeys(note for run in runs for note in run.get("notes", ()))
    return "\n".join([*lines, *[f"* {note}" for note in notes]])


def _rows(runs: Sequence[Run], part: str, **wanted: object) -> list[Row | None]:
    return [found(run[part], **wanted) for run in runs]


def _names(run: Run) -> list[str]:
    return list(dict.fromkeys(row["way"] for row in run["slowdown"]))


def _ratio(row: Row) -> str:
    return f"{ratio(row['ratio'])} ({ratio(row['low'])}–{ratio(row['high'])})"


def _slowdown(runs: Sequence[Run], payload: str) -> str:
    body = []
    for name in _names(runs[0]):
        missing = next((row for row in _rows(runs, "slowdown", way=name) if row and "unavailable" in row), None)
        if missing is not None:
            body.append([name, f"cannot run here: {missing['unavailable']}", *[""] * len(RATES)])
            continue
        idle = both(_rows(runs, "slowdown", way=name, rate=0), _ratio)
        cells = [both(_rows(runs, "slowdown", way=name, payload=payload, rate=rate), _ratio) for rate in RATES]
        body.append([name, idle, *cells])
    title = {"decision": "### Decisions\n\n", "policy update": "### Policy updates\n\n"}[payload]
    return title + table(["events a second", "0", *[f"{rate:,}" for rate in RATES]], body)


def _stalls(runs: Sequence[Run]) -> str:
    body = []
    for name in _names(runs[0]):
        rows = _rows(runs, "slowdown", way=name, payload="decision", rate=10_000)
        if not any(rows):
            continue
        keys = ("p99_without_ms", "p99_with_ms", "p999_without_ms", "p999_with_ms")
        cells = [both(rows, _of(key)) for key in keys]
        shares = [both(rows, _share_of(key)) for key in ("stalls_without", "stalls_with")]
        body.append([name, *cells, *shares])
    return table(["", "p99 without", "p99 with", "p99.9 without", "p99.9 with", "over 2 ms without", "with"], body)


def _of(key: str, scale: float = 1.0) -> Callable[[Row], str]:
    return lambda row: figure(row[key] * scale)


def _share_of(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:.1%}"


def _lost(runs: Sequence[Run]) -> str:
    lines = []
    for name in _names(runs[0]):
        for payload in ("decision", "policy update"):
            for rate in RATES:
                rows = _rows(runs, "slowdown", way=name, payload=payload, rate=rate)
                if any(row and row["lost"] for row in rows):
                    share = both(rows, lambda row: f"{row['lost'] / max(row['events'], 1):.1%}")
                    lines.append(f"* {name}: {share} of the events ({payload}, {rate:,} a second)")
    return "Events that were recorded and then thrown away:\n\n" + ("\n".join(lines) or "* none by any way")


def _parts(runs: Sequence[Run]) -> str:
    tables = [run["parts"]["ratios"] for run in runs]
    rates = list(dict.fromkeys(row["rate"] for row in tables[0]))
    body = []
    for part in dict.fromkeys(row["part"] for row in tables[0]):
        cells = [both([found(rows, part=part, rate=rate) for rows in tables], _ratio) for rate in rates]
        body.append([part, *cells])
    return table(["events a second", *[f"{rate:,}" for rate in rates]], body)


def _clock(runs: Sequence[Run]) -> str:
    tables = [run["parts"]["clock"] for run in runs]
    numbers = list(dict.fromkeys(row["events"] for row in tables[0]))
    body = []
    for part in dict.fromkeys(row["part"] for row in tables[0]):
        cells = [both([found(rows, part=part, events=number) for rows in tables], _of("us")) for number in numbers]
        body.append([part, *cells])
    return table(["events", *map(str, numbers)], body)


def _emit(runs: Sequence[Run]) -> str:
    body = []
    for first in runs[0]["emit"]:
        rows = _rows(runs, "emit", payload=first["payload"])
        body.append([first["payload"], *[both(rows, _of(key)) for key in ("emit_ns", "build_ns", "threads_us")]])
    return table(["", "emit(), ns", "building the event, ns", "log's threads, CPU µs"], body)


def _relay(runs: Sequence[Run]) -> str:
    body = []
    for first in runs[0]["relay"]:
        rows = _rows(runs, "relay", exported=first["exported"])
        body.append(
            [first["exported"], both(rows, _of("cpu_us")), both(rows, lambda row: f"{1e6 / row['cpu_us']:,.0f}")]
        )
    clock = both([run["growth"]["core"][0] for run in runs], lambda row: f"{row['events_per_s']:,.0f}")
    body.append(["all of it, bound to one core, by the clock", "", clock])
    return table(["exported", "CPU µs an event", "events/s on one core"], body)


def _by_stage(runs: Sequence[Run]) -> str:
    body = []
    for stage in dict.fromkeys(row["stage"] for row in runs[0]["stages"]):
        cells = [
            both(_rows(runs, "stages", payload=payload, stage=stage), _of("cpu_us"))
            for payload in ("decision", "policy update")
        ]
        body.append([stage, *cells])
    return "By stage, CPU µs an event on one thread:\n\n" + table(["", "decision", "policy update"], body)


def _growth(runs: Sequence[Run]) -> str:
    tables = [run["growth"] for run in runs]
    titles = {"series": "series served", "ranks": "ranks on the node", "length": "events in the log"}
    parts = ["What it grows with, everything on, CPU µs an event:\n"]
    for name, title in titles.items():
        body = []
        for at, first in enumerate(tables[0][name]):
            rows = [each[name][at] for each in tables]
            cells = [f"{next(iter(first.values())):,}", both(rows, _of("cpu_us"))]
            body.append([*cells, both(rows, _of("peak_mb"))] if name == "length" else cells)
        head = [title, "CPU µs an event"] + (["largest resident size, MB"] if name == "length" else [])
        parts.append(table(head, body) + "\n")
    lag = [run["lag"] for run in runs]
    took = {key: both(lag, _of(f"{key}_ms")) for key in ("median", "p99", "max")}
    parts.append(
        f"From `emit()` to the scrape that shows it, {lag[0]['samples']} times while 1,000 events a second are "
        f"recorded: median {took['median']} ms, p99 {took['p99']} ms, at most {took['max']} ms."
    )
    return "\n".join(parts)


def _scrape(runs: Sequence[Run]) -> str:
    body = []
    for at, first in enumerate(runs[0]["growth"]["scrape"]):
        rows = [run["growth"]["scrape"][at] for run in runs]
        cells = [both(rows, _of(key)) for key in ("median_ms", "p99_ms", "cpu_ms")]
        body.append([f"{first['series']:,}", *cells, both(rows, _of("bytes", 1e-3))])
    head = ["series", "median, ms", "p99, ms", "relay's CPU, ms", "kB"]
    return "## A scrape\n\nIt takes place in the relay; training does not notice it.\n\n" + table(head, body)


def _footprint(runs: Sequence[Run]) -> str:
    body = []
    for first in runs[0]["footprint"]:
        rows = _rows(runs, "footprint", layer=first["layer"])
        if "import_ms" not in first:
            body.append([first["layer"], "not installed", ""])
            continue
        body.append([first["layer"], both(rows, _of("import_ms")), both(rows, _of("memory_mb"))])
    return FOOTPRINT + table(["", "import and begin, ms", "resident memory, MB"], body)
