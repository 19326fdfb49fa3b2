"""Views of which a part is missing, judged by looking at the drawn dashboards."""

from __future__ import annotations

from typing import Final

NOT_JUDGED: Final = "yes"
"""Verdict on a row with panels of which no part is known to be missing."""

PARTLY: Final[dict[str, str]] = {
    "RunHeader": "task and mode need Loki; processor and memory are those of the process, without per cent",
    "EsperStatus": "spread over six panels of four boards",
    "RewardHealthPanel": "no single verdict; the hypervolume is in the report alone",
    "CriticCalibration": "numbers without the verdict in one word; the Bellman error is a line among others",
    "SlotsPanel": "the mean life of a seed stands in log lines alone; no arrows for trends",
    "Decisions": "host accuracy, TD error, hit or miss, style, tempo and states of the slots are no columns",
    "HealthGauges": "spread over six panels of two boards; the low variance of the returns is a line without a label",
    "PhaseGatePanel": "no list of the gates with their limits",
    "MorphologyCausalLog": "evidence of the watch window and linked events are no columns",
}
"""Missing parts by a word in the row's name."""


def missing_of(name: str) -> str:
    """Part of a view that no panel shows; empty if none is known."""
    return next((missing for word, missing in PARTLY.items() if word in name), "")
