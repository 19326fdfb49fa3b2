"""Statements that create the views in ClickHouse.

The views read the files that the descriptions of an archive's segments name, and no others; the descriptions are read
with every query, so that new runs are there at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from esper_otel.archive.layout import FORMAT, SEGMENTS
from esper_otel.sql.catalogue import VIEWS
from esper_otel.sql.clickhouse.creating import create_database, create_view, create_views
from esper_otel.sql.clickhouse.place import Place
from esper_otel.sql.views.clickhouse import from_stored, literal, stored_type_of
from esper_otel.sql.views.columns import quoted
from esper_otel.sql.views.tables import LAYOUT, Table

DATABASE: Final = "esper"
FILES: Final = "archive_files"
"""View of the files that count."""

MISSING: Final = "archive_missing"
"""View of those of them that are not there."""

_TAKEN: Final = {
    "path",
    "table",
    "size",
    "content",
    *(column.name for view in VIEWS.values() for column in view.columns),
}
"""Names by which ClickHouse would not find a named collection."""

_KEY: Final = rf"^(.*)/{SEGMENTS}/(run_id=[^/]+/rank=[0-9]{{1,9}})/([^/]+)-([0-9]{{6,12}})-([0-9]{{12,18}})\.json$"
"""The same as in the layout of an archive, for ``_path``."""

_NO_HIVE: Final = "use_hive_partitioning = 0"
"""ClickHouse takes a directory called ``lr=0.5`` for a column, and puts it over the one of that name."""


def statements(place: Place, database: str) -> Iterator[str]:
    """Every statement, in the order in which they are to be executed.

    Raises:
        ValueError: ``database`` is no plain name, or the named collection has that of a column.
    """
    if place.collection in _TAKEN:
        raise ValueError(f"ClickHouse takes the named collection {place.collection} for a column; give it another name")
    yield from create_database(database)
    yield create_view(
        FILES, (), _files(place), "Parquet files of the archive that count: those of whole, valid segments."
    )
    yield create_view(
        MISSING, (), _missing(place), "Files that count and are not there: their rows are missing in the views."
    )
    yield from create_views(partial(_stored, place))


def _stored(place: Place, table: Table) -> str:
    """SQL of the rows of a table; a column that files of an earlier contract lack is NULL."""
    structure = ", ".join(f"{quoted(column.name)} {stored_type_of(column)}" for column in table.columns)
    source = place.read(f"run_id=*/rank=*/{table.name}.*.parquet", "Parquet", structure)
    columns = ", ".join(from_stored(column) for column in table.columns)
    return (
        f"SELECT {columns} FROM {source} WHERE _path IN (SELECT path FROM {FILES} WHERE table = {literal(table.name)})"
        f" SETTINGS {_NO_HIVE}"
    )


def _files(place: Place) -> str:
    """SQL of the files that the valid description of each segment names: the one that reaches furthest."""
    source = place.read(f"{SEGMENTS}/run_id=*/rank=*/*.json", "RawBLOB", "content String")
    return (
        "SELECT concat(_archive, '/', _folder, '/', _file.name) AS path, _stored.1 AS table, _file.size AS size FROM ("
        "SELECT _archive, _folder, arrayJoin(JSONExtract(_text, 'tables', 'Map(String, Array(Tuple(name String, size"
        " UInt64)))')) AS _stored, arrayJoin(_stored.2) AS _file FROM ("
        "SELECT _key[1] AS _archive, _key[2] AS _folder, _key[3] AS _log, _key[4] AS _segment,"
        " argMax(content, toUInt64(_key[5])) AS _text FROM ("
        f"SELECT extractGroups(_path, {literal(_KEY)}) AS _key, content FROM {source} SETTINGS {_NO_HIVE})"
        " WHERE notEmpty(_key) GROUP BY _archive, _folder, _log, _segment)"
        f" WHERE JSONExtractInt(_text, 'format') = {FORMAT} AND JSONExtractInt(_text, 'layout') <= {LAYOUT})"
    )


def _missing(place: Place) -> str:
    """SQL of the files that count and that a list of the archive does not have; none of them is opened."""
    listed = place.read("run_id=*/rank=*/*.parquet", "One", "dummy UInt8")
    return f"SELECT * FROM {FILES} WHERE path NOT IN (SELECT _path FROM {listed} SETTINGS {_NO_HIVE})"
