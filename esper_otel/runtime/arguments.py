"""Checks of the arguments of ``configure()``: a wrong one raises an error that names it."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, SupportsFloat, SupportsIndex

from esper_otel.log.layout import LATEST, RUN_FILE, TARGETS_FILE

LONGEST_S: Final = 365 * 24 * 3600.0
"""A year: the greatest number of seconds that is accepted."""

_RUN_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_RESERVED: Final = frozenset({LATEST, RUN_FILE, TARGETS_FILE})
_LOG_ENDINGS: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def run_id_problem(run_id: object) -> str | None:
    """Reason why ``run_id`` cannot be the name of a run; None if it can.

    Its directory lies beside the link to the latest run and the targets file, and must not look like a log.
    """
    if not isinstance(run_id, str):
        return f"must be a str, not {_shown(run_id)}"
    if not _RUN_ID.fullmatch(run_id):
        return f"must be 1 to 128 letters, digits, '.', '_' or '-', not beginning with '.', not {run_id[:150]!r}"
    name = run_id.casefold()
    if name in _RESERVED or name.endswith(_LOG_ENDINGS):
        return f"must not be {run_id!r}: that name is taken by a file of the telemetry directory; choose another one"
    return None


def checked_run_id(run_id: object) -> str:
    """``run_id``, the name of a run.

    Raises:
        TypeError: it is not a ``str``.
        ValueError: it cannot be the name of a directory of runs.
    """
    problem = run_id_problem(run_id)
    if problem is not None:
        raise (ValueError if isinstance(run_id, str) else TypeError)(f"run_id {problem}")
    assert isinstance(run_id, str)
    return run_id


def checked_text(name: str, value: object) -> str:
    """``value`` of the argument ``name``, a text that is not empty.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {_shown(value)}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def checked_tags(value: object) -> tuple[str, ...]:
    """``value`` of the argument ``tags``, texts that are not empty.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"tags must be a list of str, not {_shown(value)}")
    return tuple(dict.fromkeys(checked_text("tags", tag) for tag in value))


def checked_notes(value: object) -> str:
    """``value`` of the argument ``notes``, a text.

    Raises:
        TypeError: it is something else.
    """
    return checked_text("notes", value) if value != "" else ""


def checked_path(name: str, value: str | os.PathLike[str]) -> Path:
    """``value`` of the argument ``name``, the path of a directory.

    Raises:
        TypeError, ValueError: it is something else.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a str or a path, not {_shown(value)}")
    if "\0" in path:
        raise ValueError(f"{name} must not contain a null character, as {path!r} does")
    return Path(path)


def checked_whole(name: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    """``value`` of the argument ``name``, a whole number from ``least`` on.

    Raises:
        TypeError, ValueError: it is something else.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {_shown(value)}") from None
    if number < least or (most is not None and number > most):
        allowed = f"{least} or more" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} must be {allowed}, not {number}")
    return number


def checked_seconds(name: str, value: SupportsFloat) -> float:
    """``value`` of the argument ``name``, a number of seconds.

    Raises:
        TypeError, ValueError: it is something else.
    """
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        seconds = float(value)
    except (TypeError, OverflowError):
        raise TypeError(f"{name} must be a number of seconds, not {_shown(value)}") from None
    if not is_time(seconds):
        raise ValueError(f"{name} must be a number of seconds from 0 to {LONGEST_S:.0f}, not {seconds}")
    return seconds


def checked_switch(name: str, value: object) -> bool:
    """``value`` of the argument ``name``, True or False.

    Raises:
        TypeError: it is something else.
    """
    if value is True or value is False:
        return bool(value)
    raise TypeError(f"{name} must be True or False, not {_shown(value)}")


def is_time(seconds: float) -> bool:
    """Return True if a wait of this length is possible."""
    return math.isfinite(seconds) and 0 <= seconds <= LONGEST_S


def _shown(value: object) -> str:
    return f"{value!r:.60} ({type(value).__name__})" if isinstance(value, str | bytes | float | bool | int) else (
        f"{type(value).__name__}"
    )  # fmt: skip
