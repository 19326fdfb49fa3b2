"""The pictures that are made: a few for the documentation, or every board of every run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from grafana.boards import BOARDS, HOME
from grafana.boards.loop import LOOP
from grafana.boards.runs import RUNS
from scripts.pictures.browser import DARK, LIGHT, Shown, Sight
from scripts.pictures.runs import ALL, ARMS, CHAOS, DEMO, PLAIN

SMALL, LARGE, OF_PAGES = 1366, 1920, 1600
"""Widths of a small screen, of a large one, and of the documentation's pictures."""


class Shot(msgspec.Struct, frozen=True):
    """A picture of the documentation: a board, a run and the theme."""

    uid: str
    run: str
    theme: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return "-".join((self.uid, *([self.run] if self.run != DEMO else []), self.theme)) + ".png"


IN_LIGHT: Final = {"esper-kasmina", "esper-esper", "esper-runs"}
"""Boards whose only picture is light."""

SHOTS: Final = (
    *(Shot(HOME.uid, DEMO, theme) for theme in (DARK, LIGHT)),
    *(Shot(HOME.uid, CHAOS, theme) for theme in (DARK, LIGHT)),
    Shot(HOME.uid, ARMS, DARK),
    Shot(LOOP.uid, PLAIN, DARK),
    *(Shot(board.uid, DEMO, LIGHT if board.uid in IN_LIGHT else DARK) for board in BOARDS if board not in (HOME, LOOP)),
)


def of_pages(out: Path, shown: dict[str, Shown]) -> Iterator[Sight]:
    """Pictures for the documentation, of the boards alone."""
    for shot in SHOTS:
        yield Sight(shot.uid, shot.run, shown[shot.run], shot.theme, {OF_PAGES: out / shot.name})


def of_every_board(out: Path, shown: dict[str, Shown]) -> Iterator[Sight]:
    """Every board of every run in both widths and themes, with Grafana's menu, as on a screen."""
    whole = min(since for since, _ in shown.values()), max(until for _, until in shown.values())
    for theme in (DARK, LIGHT):
        for run in ALL:
            for board in BOARDS:
                if board is RUNS and run != DEMO:  # it shows all of them
                    continue
                names = {width: out / f"{board.domain}-{run}-{width}-{theme}.png" for width in (SMALL, LARGE)}
                # The table of runs has the states at the end of the time shown: by then all of them are over.
                yield Sight(board.uid, run, whole if board is RUNS else shown[run], theme, names, bare=False)
