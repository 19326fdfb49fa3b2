"""Widths of the columns of tables, and names of those of Tempo."""

from __future__ import annotations

from typing import Final

SPAN_COLUMNS: Final = {
    "time": ("start", 190),
    "spanID": ("round's trace", 150),
    "statusMessage": ("what went wrong", 420),
    "esper.group.id": ("group", 80),
    "esper.round": ("round", 70),
    "kasmina.env_id": ("env", 60),
    "kasmina.slot_id": ("slot", 70),
    "kasmina.blueprint_id": ("blueprint", 110),
    "kasmina.seed.outcome": ("end", 100),
    "kasmina.improvement": ("improvement", 110),
}
"""Name and width in pixels of columns of Tempo's spans."""

EVENT_COLUMNS: Final = {
    "esper_event_type": 210,
    "kasmina_action_id": 230,
    "kasmina_blueprint_id": 110,
    "kasmina_from_stage": 120,
    "kasmina_to_stage": 120,
    "kasmina_target_stage": 120,
    "kasmina_rng_seed": 180,
    "kasmina_rng_stream": 170,
    "kasmina_operation": 160,
    "kasmina_governor_reason": 120,
    "kasmina_checks_failed": 200,
    "kasmina_reason": 130,
    "simic_anomaly_type": 150,
    "simic_detail": 260,
    "simic_configs": 200,
    "simic_slot_ids": 160,
    "simic_strategy": 120,
    "tolaria_panic_reason": 160,
    "tolaria_triggering_action_id": 230,
    "tolaria_guard": 420,
}
"""Width in pixels of columns of log events that hold long words."""

LABEL_COLUMNS: Final = {
    "state": 105, "stage": 120, "blueprint": 110, "run": 150, "started": 165, "ended": 165, "commit": 90, "group": 75,
    "event": 240, "field": 210, "alert": 250,
}  # fmt: skip
"""Width in pixels of columns with a long name or long words."""

NARROW: Final = 72
"""Smallest width of a column, in pixels: Grafana's own, 150, hides half of a table behind a scroll bar."""

LETTER_PIXELS, CELL_PADDING, ARROW_PIXELS = 8, 10, 24
"""A letter of a header, the margin of a cell, the arrow of the column that a table is sorted by."""


VALUE_PIXELS: Final = {"s": 95, "bytes": 95, "dateTimeAsIso": 165}
"""Width of the longest values of a unit: of numbers, a cell that is too narrow hides the first digits."""


def least_width(name: str, unit: str, *, is_sorted: bool) -> int:
    """Pixels of a column in which no word of its name and no digit of its numbers is cut."""
    header = LETTER_PIXELS * max(map(len, name.split())) + 2 * CELL_PADDING + (ARROW_PIXELS if is_sorted else 0)
    return max(header, VALUE_PIXELS.get(unit, 0))
