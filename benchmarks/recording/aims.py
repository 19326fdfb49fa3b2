"""Tables of the figures of recorders, with the aims and whether they were met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from benchmarks.recording.roads import ALONE
from benchmarks.table.cells import Row, found, ratio, table

OURS: Final = "recorder, native"
NOTHING: Final = "nothing (A/A)"
RATIOS: Final = {
    ("decision", 100): 1.002,
    ("decision", 1_000): 1.005,
    ("decision", 10_000): 1.01,
    ("policy update", 100): 1.002,
    ("policy update", 1_000): 1.005,
    ("policy update", 10_000): 1.02,
}
"""Aim for the ratio of a step with events to one without, by payload and events a second."""

LOCKED_US: Final = {"decision": 0.5, "policy update": 1.2}
AFTER_US: Final = {"1": 13.0, "4": 16.0, "40": 50.0}
"""Aims for decisions right after a step."""

STALL_MS: Final = 0.5
"""Aim for what recording adds to the p99.9 of a step: the machine's own stalls are longer than any fixed limit."""


def report(figures: dict[str, list[Row]]) -> str:
    """The tables of what was measured, and the aims below each."""
    parts = {"steps": (_steps, _aims_of_steps), "clock": (_clock, _aims_of_clock), "lock": (_lock, _aims_of_lock)}
    texts = []
    for name, (tabled, aims) in parts.items():
        if rows := figures.get(name):
            texts += [tabled(rows), "\n".join(f"* {line}" for line in aims(rows))]
    return "\n\n".join(texts)


def _steps(rows: Sequence[Row]) -> str:
    body = [
        [
            f"{row['payload']}, {row['rate']:,}",
            row["road"],
            f"{ratio(row['ratio'])} ({ratio(row['low'])}–{ratio(row['high'])})",
            f"{row['quads']} of {row['quads'] + row['left_out']}",
            f"{row['p999_without_ms']:.2f}",
            f"{row['p999_ms']:.2f}",
        ]
        for row in sorted(rows, key=lambda row: (row["payload"], row["rate"]))
    ]
    return table(["events a second", "road", "step", "quadruples", "p99.9 without, ms", "with"], body)


def _aims_of_steps(rows: Sequence[Row]) -> Iterable[str]:
    for row in rows:
        if row["road"] == OURS:
            aim = RATIOS[row["payload"], row["rate"]]
            yield (
                f"{row['payload']}, {row['rate']:,} a second: {ratio(row['ratio'])}; aim: below {aim:g}. "
                f"{_verdict(row['ratio'] < aim, row['low'] < aim <= row['high'])}"
            )
            more = row["p999_ms"] - row["p999_without_ms"]
            yield f"the same, p99.9 of a step: {more:+.2f} ms; aim: at most +{STALL_MS}. {_verdict(more <= STALL_MS)}"
    for row in rows:
        if row["road"] == NOTHING:
            more = row["p999_ms"] - row["p999_without_ms"]
            yield f"noise (A/A, {row['payload']}): {row['low']:.4f} to {row['high']:.4f}, p99.9 {more:+.2f} ms"


def _clock(rows: Sequence[Row]) -> str:
    body = [[row["payload"], row["road"], *[f"{row[events]:.1f}" for events in AFTER_US]] for row in rows]
    return table(["right after a step, µs", "road", *[f"{events} events" for events in AFTER_US]], body)


def _aims_of_clock(rows: Sequence[Row]) -> Iterable[str]:
    row, alone = _of(rows, "decision", OURS), _of(rows, "decision", ALONE)
    for events, aim in AFTER_US.items():
        yield (
            f"{events} decisions: {row[events]:.1f} µs, {row[events] - alone[events]:.1f} above the numbers alone; "
            f"aim: at most {aim:g}. {_verdict(row[events] <= aim)}"
        )


def _lock(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        price = row["lost_us"] - _of(rows, row["payload"], ALONE)["lost_us"]
        lost = f"{row['lost_us']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        body.append([row["payload"], row["road"], lost, f"{price:.2f}", f"{row['call_us']:.2f}"])
    return table(["held lock, µs an event", "road", "lost", "above the numbers alone", "quickest call"], body)


def _aims_of_lock(rows: Sequence[Row]) -> Iterable[str]:
    for payload, aim in LOCKED_US.items():
        price = _of(rows, payload, OURS)["lost_us"] - _of(rows, payload, ALONE)["lost_us"]
        python = _of(rows, payload, "emit(), in Python")["lost_us"] - _of(rows, payload, ALONE)["lost_us"]
        yield (
            f"{payload}: {price:.2f} µs with the lock above the numbers alone, {python:.2f} by emit() in Python; "
            f"aim: at most {aim:g}. {_verdict(price <= aim)}"
        )


def _of(rows: Sequence[Row], payload: str, road: str) -> dict[str, Any]:
    row = found(rows, payload=payload, road=road)
    assert row is not None, f"{road} was not measured"
    return row


def _verdict(held: bool, is_open: bool = False) -> str:
    said = "Reached." if held else "**Not reached.**"
    return f"{said} The interval holds the aim." if is_open else said
