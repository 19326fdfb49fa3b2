"""The picture in a panel's canvas: bars and lines as they are drawn, in pixels."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Final

import msgspec
from playwright.sync_api import Page

from tests.grafana.real_grafana import CONTENT

COLOURED: Final = """content => {
    const found = [];
    for (const canvas of content.querySelectorAll('canvas')) {
        const {width, height} = canvas;
        const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
                const at = 4 * (y * width + x);
                const [red, green, blue, alpha] = data.slice(at, at + 4);
                if (alpha > 150 && Math.max(red, green, blue) - Math.min(red, green, blue) > 40) {
                    found.push([x, y, red > green && red > blue ? 'red' : green > red && green > blue ? 'green' : '']);
                }
            }
        }
    }
    return found;
}"""
"""Places and colours of what is neither text, grid nor background: those are grey or faint."""

Pixel = tuple[int, int, str]


class Bar(msgspec.Struct, frozen=True):
    """One horizontal bar."""

    colour: str
    left: int
    right: int

    @property
    def length(self) -> int:
        return self.right - self.left + 1


def coloured(page: Page) -> list[Pixel]:
    """Every coloured pixel of the panel's canvas, once it is drawn and stands still."""
    before: list[Pixel] = []
    for _ in range(100):
        page.wait_for_timeout(300)
        found = [(x, y, colour) for x, y, colour in page.eval_on_selector(CONTENT, COLOURED)]
        if found and found == before:
            return found
        before = found
    raise AssertionError("the panel's canvas holds no picture that stands still")


def bars(pixels: list[Pixel]) -> list[Bar]:
    """Horizontal bars from top to bottom; values are written in grey, or in the bar's colour beside it."""
    rows = {y: list(row) for y, row in groupby(sorted(pixels, key=lambda one: one[1]), key=lambda one: one[1])}
    middles = [rows[run[len(run) // 2]] for run in _runs(sorted(rows)) if len(run) > MIN_HEIGHT]
    return [_longest(sorted(row)) for row in middles]


MIN_HEIGHT: Final = 3


def levels(pixels: list[Pixel]) -> list[float]:
    """Heights of the horizontal lines, from top to bottom."""
    width = max(x for x, _, _ in pixels) - min(x for x, _, _ in pixels)
    counts: dict[int, int] = {}
    for _, y, _ in pixels:
        counts[y] = counts.get(y, 0) + 1
    return [sum(run) / len(run) for run in _runs(sorted(y for y, count in counts.items() if count > width * 0.6))]


def widest_gap(pixels: list[Pixel]) -> float:
    """The widest stretch without anything drawn, as a share of all that is drawn from left to right."""
    columns = sorted({x for x, _, _ in pixels})
    gaps = [after - before - 1 for before, after in pairwise(columns)]
    return max(gaps) / (columns[-1] - columns[0])


def _runs(numbers: list[int]) -> list[list[int]]:
    """Consecutive numbers together."""
    keyed = groupby(enumerate(numbers), key=lambda one: one[1] - one[0])
    return [[number for _, number in run] for _, run in keyed]


def _longest(row: list[Pixel]) -> Bar:
    run = max(_runs([x for x, _, _ in row]), key=len)
    (colour,) = {colour for x, _, colour in row if run[0] <= x <= run[-1]}
    return Bar(colour, run[0], run[-1])
