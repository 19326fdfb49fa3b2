"""Rows of tables on their way into Parquet files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import duckdb

from esper_otel.sql.views.columns import literal
from esper_otel.sql.views.tables import TABLES

MAX_ROW_BYTES: Final = 16 * 2**20
"""DuckDB's own limit of a row; it reserves twice as much for each thread."""

ROW_GROUP: Final = 32_768


class RowFiles:
    """Rows in files of a directory, one for each table."""

    def __init__(self, directory: Path, name: str) -> None:
        """Write into ``directory``; ``name`` tells the files from others."""
        self._directory = directory
        self._name = name
        self._files: dict[str, IO[bytes]] = {}

    @property
    def paths(self) -> dict[str, Path]:
        """The files by table."""
        return {table: Path(file.name) for table, file in self._files.items()}

    def add(self, rows: Mapping[str, bytes]) -> None:
        """Take rows by table, one JSON line each.

        Raises:
            OSError: a file cannot be written.
        """
        for table, lines in rows.items():
            file = self._files.get(table)
            if file is None:
                path = self._directory / f"{table}.{self._name}.rows"
                file = self._files[table] = path.open("wb")
            file.write(lines)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


class Sink:
    """Collects rows in files of a directory and turns them into Parquet. Not safe for use by several threads."""

    def __init__(self, directory: Path, database: duckdb.DuckDBPyConnection) -> None:
        """Write into ``directory`` by means of ``database``."""
        self._directory = directory
        self._database = database
        self._own = RowFiles(directory, "own")
        self._given: dict[str, list[Path]] = defaultdict(list)

    def add(self, rows: Mapping[str, bytes]) -> None:
        """Take rows by table, one JSON line each.

        Raises:
            OSError: a file cannot be written.
        """
        self._own.add(rows)

    def take(self, files: Mapping[str, Path]) -> None:
        """Take over files of rows by table, which are removed when they are stored."""
        for table, path in files.items():
            self._given[table].append(path)

    def close(self) -> None:
        """Close the files of rows."""
        self._own.close()

    def store(self, number: int, longest: int) -> dict[str, Path]:
        """Turn what was collected into one Parquet file per table, and begin anew.

        Args:
            number: number of the files.
            longest: bytes of the longest payload among the rows.
        """
        self.close()
        stored = {}
        for name, path in self._own.paths.items():
            self._given[name].append(path)
        for name, rows in self._given.items():
            target = self._directory / f"{name}.{number:06d}.parquet"
            try:
                self._copy(name, rows, target, longest, tolerant=False)
            except (duckdb.ConversionException, duckdb.InvalidInputException):
                self._copy(name, rows, target, longest, tolerant=True)
            for path in rows:
                path.unlink()
            stored[name] = target
        self._own = RowFiles(self._directory, "own")
        self._given.clear()
        return stored

    def _copy(self, name: str, rows: list[Path], target: Path, longest: int, *, tolerant: bool) -> None:
        # a payload may stand in a row as text, where each of its quotes takes one byte more
        limit = max(MAX_ROW_BYTES, 3 * longest)
        select = TABLES[name].select(rows, tolerant=tolerant, max_row_bytes=limit)
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"
        self._database.execute(f"COPY ({select}) TO {literal(str(target.absolute()))} ({options})")
