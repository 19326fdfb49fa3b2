"""Entries of ``list_runs``: the rows of the list of runs, with the name and the size of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esper_otel.log.salvage import valid_text
from esper_otel.mcp_server.directories import files_of, modified_s
from esper_otel.runs.listing import rows_in
from esper_otel.runs.rows import Row
from esper_otel.sql.plain import plain


def rows_of(directories: Sequence[Path]) -> dict[Path, Row]:
    """The rows of all runs, by the resolved path of each.

    Raises:
        OSError: a directory cannot be listed.
    """
    found = {}
    for directory in directories:
        real = Path(os.path.realpath(directory))
        for row in rows_in(real):
            found[Path(row.path)] = row
    return found


def described(name: str, path: Path, row: Row | None = None) -> dict[str, Any]:
    """One run as plain data: name, place, size, and the row of the list, or why it cannot be read."""
    shown = {"run": name, "path": valid_text(str(path))}
    try:
        return {**(row.as_json() if row is not None else {}), **shown, **_files(path)}
    except OSError as error:
        return {**shown, "problem": valid_text(str(error))}


def _files(path: Path) -> dict[str, Any]:
    return {
        "last_written": plain(datetime.fromtimestamp(modified_s(path), UTC).replace(tzinfo=None)),
        "size_bytes": sum(file.lstat().st_size for file in files_of(path)),
    }
