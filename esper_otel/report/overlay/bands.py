"""Lines of groups of runs over the rounds that all runs of a group have, and the charts of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import msgspec

from esper_otel.comparison.curves import Curve
from esper_otel.comparison.sides import Group
from esper_otel.report.canvas import Canvas
from esper_otel.report.chart import Axis, Chart, Series
from esper_otel.runs.summary import IS_BETTER_HIGH

TITLES: Final = {"reward": "Reward", "accuracy": "Accuracy", "loss": "Loss"}
_AXES: Final = {"reward": "reward", "accuracy": "accuracy, %", "loss": "loss"}
_ABOUT: Final = (
    "Mean of each group's runs; the band goes from the smallest to the largest of them, round by round,"
    " as far as all runs of the group go."
)


class Band(msgspec.Struct, frozen=True):
    """Mean, smallest and largest value of some runs at each of the rounds that all of them have."""

    numbers: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band_of(curves: Sequence[Curve]) -> Band:
    """The band of at least one curve; between two points of a curve its values lie on a line."""
    first = max(curve.numbers[0] for curve in curves)
    last = min(curve.numbers[-1] for curve in curves)
    densest = max(curves, key=lambda curve: len(curve.numbers))
    numbers = [number for number in densest.numbers if first <= number <= last] or [last]
    columns = [[value_at(curve, number) for curve in curves] for number in numbers]
    return Band(numbers, *([of(column) for column in columns] for of in (fmean, min, max)))


def value_at(curve: Curve, number: float) -> float:
    """Value of a curve at a round; before its first point and behind its last one it is level."""
    right = bisect_left(curve.numbers, number)
    if right == len(curve.numbers):
        return curve.values[-1]
    if right == 0 or curve.numbers[right] == number:
        return curve.values[right]
    share = (number - curve.numbers[right - 1]) / (curve.numbers[right] - curve.numbers[right - 1])
    return curve.values[right - 1] + share * (curve.values[right] - curve.values[right - 1])


def charts_of(groups: Sequence[Group], labels: Sequence[str]) -> list[Chart]:
    """A chart of each outcome that any of the groups has."""
    found = (_chart(outcome, groups, labels) for outcome in IS_BETTER_HIGH)
    return [chart for chart in found if chart is not None]


def _chart(outcome: str, groups: Sequence[Group], labels: Sequence[str]) -> Chart | None:
    by_label = {
        label: [run.curves[outcome] for run in group.runs if outcome in run.curves]
        for label, group in zip(labels, groups, strict=True)
    }
    measured = {label: curves for label, curves in by_label.items() if curves}
    if not measured:
        return None
    canvas = Canvas([Axis(_AXES[outcome])], "round, episode or update")
    for label, curves in measured.items():
        band = band_of(curves)
        canvas.line(1, label, _series(band, band.mean, label))
        if len(curves) > 1:
            canvas.band(1, label, _series(band, band.low, ""), _series(band, band.high, ""))
    absent = [label for label in by_label if label not in measured]
    notes = [f"Not measured: {', '.join(absent)}."] if absent else []
    return canvas.chart(TITLES[outcome], _ABOUT, notes, height_px=420)


def _series(band: Band, values: list[float], label: str) -> Series:
    return Series(band.numbers, values, [f"{label}, {number:g}" for number in band.numbers])
