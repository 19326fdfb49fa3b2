"""Missed aims and better alternatives, derived from the figures and not chosen by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from benchmarks.table.cells import Row, both, figure, found, ratio

OURS: Final = "esper_otel"
OURS_BUILT: Final = "esper_otel, event built before"
OURS_RECORDER: Final = "esper_otel, recorder"
NOT_RIVALS: Final = (OURS, OURS_BUILT, OURS_RECORDER, "nothing (A/A)")
PAYLOADS: Final = ("decision", "policy update")
AIM_RATIO: Final = 1.01
AIM_STALL_MS: Final = 0.5
"""More than without recording: the machine itself stalls a step for longer than any fixed limit would allow."""

AIM_RELAY_US: Final = 15.0
AIM_EVENTS_PER_S: Final = 50_000
EVERYTHING: Final = "metrics, spans, logs, OTLP metrics"


def behind(runs: Sequence[dict[str, Any]]) -> str:
    """The aims with the results, then every alternative that did better."""
    lines = [_slowdown_aim(runs, way, payload) for payload in PAYLOADS for way in (OURS, OURS_BUILT)]
    lines += [_stall_aim(runs), _relay_aim(runs), _core_aim(runs), *_better(runs), *_lighter(runs)]
    return "\n".join(f"* {line}" for line in lines)


def _slowdown_aim(runs: Sequence[dict[str, Any]], way: str, payload: str) -> str:
    rows = [found(run["slowdown"], way=way, payload=payload, rate=10_000) for run in runs]
    held = [row is not None and row["ratio"] < AIM_RATIO and row["low"] <= 1.0 for row in rows]
    return (
        f"{way}, 10,000 events a second ({payload}): {_ratios(rows)} times the step; "
        f"aim: below {AIM_RATIO}, interval with 1.00. {_verdict(held)}"
    )


def _stall_aim(runs: Sequence[dict[str, Any]]) -> str:
    rows = [found(run["slowdown"], way=OURS, payload="decision", rate=10_000) for run in runs]
    held = [row is not None and row["p999_with_ms"] - row["p999_without_ms"] <= AIM_STALL_MS for row in rows]
    slow = both(rows, lambda row: f"{row['p999_with_ms']:.1f}")
    alone = both(rows, lambda row: f"{row['p999_without_ms']:.1f}")
    return (
        f"p99.9 of a step at 10,000 decisions a second: {slow} ms, and {alone} ms without recording; "
        f"aim: at most {AIM_STALL_MS:g} ms more. {_verdict(held)}"
    )


def _relay_aim(runs: Sequence[dict[str, Any]]) -> str:
    rows = [found(run["relay"], exported=EVERYTHING) for run in runs]
    held = [row is not None and row["cpu_us"] <= AIM_RELAY_US for row in rows]
    cost = both(rows, lambda row: figure(row["cpu_us"]))
    return f"A decision in the relay with everything on: {cost} µs; aim: {AIM_RELAY_US:g} µs. {_verdict(held)}"


def _core_aim(runs: Sequence[dict[str, Any]]) -> str:
    rows = [run["growth"]["core"][0] for run in runs]
    held = [row["events_per_s"] >= AIM_EVENTS_PER_S for row in rows]
    rate = both(rows, lambda row: f"{row['events_per_s']:,.0f}")
    return (
        f"The same relay bound to one core, by the clock: {rate} events a second; aim: {AIM_EVENTS_PER_S:,}. "
        f"{_verdict(held)}"
    )


def _verdict(held: Sequence[bool]) -> str:
    return (
        "Reached." if all(held) else "**Not reached.**" if not any(held) else "**Reached in one run, not in another.**"
    )


def _better(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Ways whose interval lies below ours, in all runs or in some."""
    lines = []
    for first in runs[0]["slowdown"]:
        if first["way"] in NOT_RIVALS or "unavailable" in first:
            continue
        same = {key: first[key] for key in ("payload", "rate")}
        theirs = [found(run["slowdown"], way=first["way"], **same) for run in runs]
        ours = [found(run["slowdown"], way=OURS, **same) for run in runs]
        below = [bool(a and b and a["high"] < b["low"]) for a, b in zip(theirs, ours, strict=True)]
        if any(below):
            how = "slows down less" if all(below) else "slows down less in one run, not in another"
            what = f"{same['payload']}, {same['rate']:,} a second" if same["rate"] else "idle"
            lines.append(f"{first['way']} {how} ({what}): {_ratios(theirs)}, ours {_ratios(ours)}.")
    return lines


def _ratios(rows: Sequence[Row | None]) -> str:
    return both(rows, lambda row: f"{ratio(row['ratio'])} ({ratio(row['low'])}–{ratio(row['high'])})")


def _lighter(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Layers that add less to a training process than ours."""
    lines = []
    for key, what, unit in (
        ("import_ms", "takes less time to import and begin", "ms"),
        ("memory_mb", "takes less memory", "MB"),
    ):
        ours = found(runs[0]["footprint"], layer=f"{OURS}, configured")
        for row in runs[0]["footprint"]:
            if ours and not row["layer"].startswith(OURS) and row.get(key, ours[key]) < ours[key]:
                lines.append(f"{row['layer']} {what}: {figure(row[key])} {unit}, ours {figure(ours[key])}.")
    return lines
