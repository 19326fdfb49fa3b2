"""The infrastructure timeline: throughput, time by phase, memory, utilisation (plan, Appendix F)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from esper_otel.events.vocabulary import PHASES
from esper_otel.report.canvas import Canvas
from esper_otel.report.chart import Axis, Chart, Series, in_order, not_measured
from esper_otel.report.sampling import drawn_together
from esper_otel.report.source import FIRST_RANK, OF_ARM, Arm, Connection, Row, of_arm
from esper_otel.report.updates import Updates, clock

TITLE: Final = "Infrastructure timeline"
_ABOUT: Final = "Speed of training, time by phase, and memory use."
_GIB: Final = 2**30

_STEPS: Final = f"SELECT timestamp, fps AS value FROM tolaria_throughput WHERE {OF_ARM} {FIRST_RANK} ORDER BY timestamp"
_ROUNDS: Final = f"""
    SELECT timestamp, 6e7 * n_envs / coalesce(1e3 * batch_time_ms, gap_us) AS value FROM (
        SELECT *, epoch_us(timestamp) - epoch_us(lag(timestamp) OVER (ORDER BY timestamp)) AS gap_us
        FROM (SELECT * FROM tolaria_batches WHERE {OF_ARM} {FIRST_RANK})
    ) WHERE coalesce(1e3 * batch_time_ms, gap_us) > 0 ORDER BY timestamp
"""
_PHASES: Final = f"""
    WITH arm AS (SELECT * FROM phase_occupancy WHERE {OF_ARM} AND wall_ms IS NOT NULL),
         ends AS (SELECT DISTINCT timestamp AS ended FROM tolaria_batches WHERE {OF_ARM})
    SELECT coalesce(e.ended, a.timestamp) AS timestamp, a.phase_name AS name, sum(a.wall_ms) / 1e3 AS value
    FROM arm a ASOF LEFT JOIN ends e ON a.timestamp <= e.ended GROUP BY ALL ORDER BY timestamp
"""
_PASSES: Final = f"""
    SELECT timestamp, concat_ws(' ', nullif(device, 'cpu'), pass.key) AS name, 1e3 * list_avg(pass.value) AS value
    FROM (
        SELECT timestamp, device, unnest(map_entries(durations_s)) AS pass
        FROM (SELECT * FROM tolaria_phase_durations WHERE {OF_ARM} {FIRST_RANK})
    ) ORDER BY timestamp
"""
_MONITORED_STEPS: Final = f"""
    SELECT timestamp, 1e6 * (step - before) / (epoch_us(timestamp) - epoch_us(since)) AS value FROM (
        SELECT timestamp, step, lag(step) OVER since AS before, lag(timestamp) OVER since AS since
        FROM (SELECT * FROM tolaria_phase_durations WHERE {OF_ARM} {FIRST_RANK})
        WINDOW since AS (PARTITION BY device ORDER BY timestamp)
    ) WHERE step > before AND timestamp > since ORDER BY timestamp
"""
_MEMORY: Final = f"""
    SELECT timestamp, concat_ws(' ', coalesce(device, ''), what) AS name, value / {_GIB} AS value FROM (
        SELECT timestamp, device, unnest(['allocated', 'reserved', 'peak']) AS what,
               unnest([allocated_bytes, reserved_bytes, peak_bytes]) AS value FROM allocator_stats WHERE {OF_ARM}
        UNION ALL
        SELECT timestamp, device, unnest(['allocated', 'reserved', 'peak', 'process']) AS what,
               unnest([cuda_memory_allocated_gb * {_GIB}, cuda_memory_reserved_gb * {_GIB},
                       cuda_memory_peak_gb * {_GIB}, process_memory_bytes]) AS value
        FROM infrastructure WHERE {OF_ARM}
    ) WHERE value IS NOT NULL ORDER BY timestamp
"""
_UTILIZATION: Final = f"""
    SELECT timestamp, coalesce(device, 'GPU') AS name, gpu_utilization_pct AS value FROM infrastructure
    WHERE {OF_ARM} AND gpu_utilization_pct IS NOT NULL ORDER BY timestamp
"""


def infrastructure_chart(connection: Connection, arm: Arm, updates: Updates) -> Chart:
    """The chart of one arm."""
    steps = _one_series(of_arm(connection, _STEPS, arm))
    rounds = _one_series(of_arm(connection, _ROUNDS, arm))
    phases = _by_name(of_arm(connection, _PHASES, arm))
    memory = _by_name(of_arm(connection, _MEMORY, arm)) or _of_updates(updates)
    use = _by_name(of_arm(connection, _UTILIZATION, arm))
    passes = {} if phases else _by_name(of_arm(connection, _PASSES, arm))
    speed = _named("environment steps", steps)
    pace = {} if speed else _named("episodes", rounds)
    monitored = {} if speed or pace else _named("steps", _one_series(of_arm(connection, _MONITORED_STEPS, arm)))
    parts: list[tuple[str, Axis, dict[str, Series], Callable[..., None]]] = [
        ("throughput", Axis("steps per s", from_zero=True), speed, _draw_lines),
        ("throughput", Axis("episodes per min", from_zero=True), pace, _draw_lines),
        ("throughput", Axis("steps per s", from_zero=True), monitored, _draw_lines),
        ("time by phase", Axis("s per round"), phases, _draw_areas),
        ("time by phase", Axis("ms per pass"), passes, _draw_areas),
        ("memory", Axis("GiB", from_zero=True), memory, _draw_lines),
        ("GPU utilisation", Axis("GPU in use, %", from_zero=True), use, _draw_lines),
    ]
    found = [part for part in parts if part[2]]
    if not found:
        return not_measured(TITLE, _ABOUT, "the log contains no throughput, phases, memory or utilisation.")
    canvas = Canvas([axis for _, axis, _, _ in found], "time, UTC", is_time=True)
    for row, (_, _, series, draw) in enumerate(found, start=1):
        draw(canvas, row, series)
    return canvas.chart(TITLE, _ABOUT, _notes([name for name, _, _, _ in found], pace, monitored))


def _notes(drawn: Sequence[str], pace: dict[str, Series], monitored: dict[str, Series]) -> list[str]:
    absent = [name for name in ("throughput", "time by phase", "memory", "GPU utilisation") if name not in drawn]
    notes = [f"Not measured in this log: {', '.join(absent)}."] if absent else []
    if pace:
        notes.append("Throughput is computed from the ends of the rounds, because the log has no step rate.")
    if monitored:
        notes.append("Throughput is computed from the steps between two reports of the sensors.")
    return notes


def _named(name: str, series: Series) -> dict[str, Series]:
    return {name: series} if series.is_measured else {}


def _draw_lines(canvas: Canvas, row: int, named: dict[str, Series]) -> None:
    for name, series in named.items():
        canvas.line(row, name, series)


def _draw_areas(canvas: Canvas, row: int, named: dict[str, Series]) -> None:
    stacked = _at_same_times(named)
    indexes = drawn_together([series.values for series in stacked.values()])
    for name, series in stacked.items():
        canvas.area(row, name, series, indexes)


def _one_series(found: Sequence[Row]) -> Series:
    return Series(
        [row["timestamp"] for row in found],
        [row["value"] for row in found],
        [clock(row["timestamp"]) for row in found],
    )


def _by_name(found: Sequence[Row]) -> dict[str, Series]:
    """Series of their own times, by name."""
    parts: dict[str, list[Row]] = {}
    for row in found:
        parts.setdefault(row["name"].strip(), []).append(row)
    return {name: _one_series(parts[name]) for name in in_order(parts, PHASES)}


def _at_same_times(named: dict[str, Series]) -> dict[str, Series]:
    """The same series over the times of all, as a stack needs them; None for missing values."""
    times = sorted({time for series in named.values() for time in series.x})
    texts = [clock(time) for time in times]
    values = {name: dict(zip(series.x, series.values, strict=True)) for name, series in named.items()}
    return {name: Series(times, [values[name].get(time) for time in times], texts) for name in named}


def _of_updates(updates: Updates) -> dict[str, Series]:
    """GPU memory as reported by esper-lite with each policy update."""
    times = [row["timestamp"] for row in updates.rows]
    found = {
        name: Series(times, [row[field] for row in updates.rows], [clock(time) for time in times])
        for name, field in (
            ("allocated", "cuda_memory_allocated_gb"),
            ("reserved", "cuda_memory_reserved_gb"),
            ("peak", "cuda_memory_peak_gb"),
        )
    }
    return {name: series for name, series in found.items() if series.is_measured}
