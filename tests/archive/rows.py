"""Every row of every view, to compare an archive with the log that it was made of."""

from __future__ import annotations

import subprocess
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any

from esper_otel.archive.address import address_of
from esper_otel.sql import VIEWS, connect
from esper_otel.sql.archiving.whole import Archived
from esper_otel.sql.archiving.whole import archive as archive_whole
from tests.tools import python_environment, tool


def archived(run: Path, to: str) -> Archived:
    """Archive a run in this process."""
    return archive_whole(run, address_of(to))


def rows_of(run: str | PathLike[str]) -> dict[str, Counter[str]]:
    """How often each row is in each view that has any."""
    with connect([run]) as connection:
        return counted({view: connection.execute(f"SELECT * FROM {view}").fetchall() for view in VIEWS})


def counted(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, Counter[str]]:
    """How often each row is in each view that has any."""
    rows = found | {"reward_calibration": [_rounded(row) for row in found["reward_calibration"]]}
    return {view: Counter(map(repr, of_view)) for view, of_view in rows.items() if of_view}


def _rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of means and correlations, whose last digits depend on the order of addition."""
    return tuple(float(f"{value:.9g}") if isinstance(value, float) else value for value in row)


def command(*arguments: str | PathLike[str], status: int | None = 0, **variables: str) -> str:
    """Output of a command, errors last. It ends with ``status``; None allows any."""
    done = subprocess.run(
        [tool("esper-otel"), *map(str, arguments)],
        env=python_environment(**variables),
        capture_output=True,
        text=True,
    )
    assert status in {None, done.returncode}, done.stdout + done.stderr
    return done.stdout + done.stderr
