"""Sides of a comparison as they are given: runs, directories of runs, several with commas between them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.archive.address import is_address
from esper_otel.comparison.curves import Outcome, outcomes_of
from esper_otel.runs.archived import addresses_below, name_of
from esper_otel.runs.places import is_one_run, runs_below

Tell = Callable[[str], object]

_SEED: Final = re.compile(r"(?:^|(?<=\s))-{0,2}(?:random[_-])?seed(?:\s+|=)-?\d+")
"""A seed in a command line: ``--seed 3``, ``--seed=3`` and Hydra's ``seed=3``."""

_OF_ONE_RUN: Final = frozenset({"seed", "command", "host"})


class Group(msgspec.Struct):
    """Runs that are one line with a band: those of one argument, or those whose settings differ by the seed alone."""

    name: str
    runs: list[Outcome]


def paths_of(side: str, tell: Tell) -> list[Path]:
    """The runs of one side.

    Raises:
        FileNotFoundError: a directory of it holds no run, or nothing stands beside one of its commas.
        OSError: one cannot be listed.
    """
    found: list[Path] = []
    parts = parts_of(side)
    if "" in parts:
        raise FileNotFoundError(
            f"{side!r} has a comma without a run beside it; take it out, or write . for this directory"
        )
    for part in map(Path, parts):
        if is_address(part):
            found += map(Path, addresses_below(part))
        else:
            found += runs_below([part], tell) if part.is_dir() and not is_one_run(part) else [part]
    return found


def parts_of(side: str) -> list[str]:
    """The paths of one side: what stands between its commas, and as a whole what exists with a comma in its name."""
    words, found = side.split(","), []
    while words:
        count = next((n for n in range(len(words), 1, -1) if os.path.exists(",".join(words[:n]))), 1)  # noqa: PTH110  # never raises
        found.append(",".join(words[:count]))
        del words[:count]
    return found


def groups_of(given: Sequence[str], tell: Tell) -> list[Group]:
    """The groups, in the order in which they are given; arms of an A/B run never share one.

    An argument of several runs is a group. Of arguments that are one run each, those with the same configuration are.

    Raises:
        FileNotFoundError: there is nothing to read at one of them.
        ValueError: the Parquet files of one are invalid.
    """
    found: dict[tuple[object, ...], Group] = {}
    for side in given:
        paths = paths_of(side, tell)
        for path in paths:
            arms = outcomes_of(path, tell)
            for arm, run in arms.items():
                own = (side,) if len(paths) > 1 else configuration(run)
                key = (own, arm if len(arms) > 1 else "")
                name = f"{name_of(side)} / {arm}" if len(arms) > 1 else name_of(parts_of(side)[0])
                found.setdefault(key, Group(name if len(paths) > 1 else run.name, [])).runs.append(run)
    return list(found.values())


def configuration(run: Outcome) -> tuple[tuple[str, str], ...]:
    """Settings of a run but for its seed, and its command line without it."""
    settings = {name: value for name, value in run.settings.items() if name not in _OF_ONE_RUN}
    return (*sorted(settings.items()), ("command", _SEED.sub("", run.settings.get("command", "")).strip()))
