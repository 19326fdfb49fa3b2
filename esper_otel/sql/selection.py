"""Runs that a query concerns, as DuckDB's own optimiser sees it.

The query is planned over empty tables. What the optimiser pushes down to the scan of a table (through views, unions and
joins) is a condition that every row of it must meet; where it says something of the run or the time, runs that cannot
have such a row need not be opened. What is not understood restricts nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import duckdb
import msgspec

from esper_otel.runs.facts import OF_PLACE, Facts
from esper_otel.runs.places import Run
from esper_otel.sql.catalogue import in_order, tables_under, views_in
from esper_otel.sql.staging.needed import line_types
from esper_otel.sql.views.columns import quoted
from esper_otel.sql.views.tables import TABLES

_UNSAFE: Final = "statistics_propagation,empty_result_pullup"
"""Optimisers that would conclude something from the tables' being empty."""

_QUOTED: Final = re.compile(r"('(?:[^']|'')*')")
_ATOMS: Final = (
    (re.compile(r"\(timestamp (>=?) "), r"(last_at \1 "),
    (re.compile(r"\(timestamp (<=?) "), r"(first_at \1 "),
)
"""A comparison that some event of the run must meet, as one of its first or last event."""


class Selection(msgspec.Struct, frozen=True):
    """Tables that a query reads, and the conditions on runs.

    Attributes:
        scans: the conditions of every scan, by table.
    """

    scans: dict[str, list[frozenset[str]]]

    def tables_of(self, runs: Sequence[tuple[Run, Facts | None]]) -> list[frozenset[str]]:
        """The tables that must be read of each run."""
        found: list[set[str]] = [set() for _ in runs]
        with _Known(runs) as known:
            for table, conditions in self.scans.items():
                types = line_types(frozenset([table]))
                for number in set().union(*(known.meeting(each) for each in conditions)):
                    facts = runs[number][1]
                    if facts is None or types is None or not types.isdisjoint(facts.types):
                        found[number].add(table)
        return [frozenset(tables) for tables in found]


def selection_of(query: str) -> Selection:
    """Return what ``query`` reads; without conditions where it cannot be planned beforehand."""
    names = views_in(query)
    try:
        scans = list(_scans(_plan(query, names)))
    except (duckdb.Error, ValueError, KeyError, TypeError):
        return Selection({table: [frozenset()] for table in tables_under(names)})
    found: dict[str, list[frozenset[str]]] = {}
    for table, conditions in scans:
        found.setdefault(table, []).append(conditions)
    return Selection(found)


def _plan(query: str, names: Sequence[str]) -> Any:
    with duckdb.connect(config={"threads": "1", "autoload_known_extensions": "false"}) as database:
        database.execute("SET TimeZone = 'UTC'")
        views = in_order(names)
        for table in {table.name: table for view in views for table in view.tables}.values():
            columns = ", ".join(f"{quoted(column.name)} {column.type}" for column in table.columns)
            database.execute(f"CREATE TABLE {_shadow(table.name)} ({columns})")
        stored = {name: f"(FROM {_shadow(name)})" for name in TABLES}
        for view in views:
            database.execute(f"CREATE VIEW {quoted(view.name)} AS {view.sql.format(**stored)}")
        database.execute(f"SET disabled_optimizers = '{_UNSAFE}'")
        database.execute("SET enable_external_access = false")
        [(_, plan)] = database.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    return json.loads(plan)


def _shadow(table: str) -> str:
    return quoted(f"table of {table}")


def _scans(plan: Any, above: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """Table and conditions of each scan; ``above`` is what the filter right above it demands."""
    for node in plan:
        extra = node["extra_info"]
        if node["name"].strip() == "SEQ_SCAN":
            yield extra["Table"].partition("table of ")[2].rstrip('"'), above | _listed(extra.get("Filters"))
        is_filter = node["name"].strip() == "FILTER"
        yield from _scans(node["children"], above | _listed(extra.get("Expression")) if is_filter else frozenset())


def _listed(conditions: str | list[str] | None) -> frozenset[str]:
    listed = [conditions] if isinstance(conditions, str) else conditions or []
    return frozenset(text.removeprefix("optional: ") for text in listed)


class _Known:
    """The runs as a table that conditions are asked of; a run of which nothing is known meets all of them."""

    def __init__(self, runs: Sequence[tuple[Run, Facts | None]]) -> None:
        self._unknown = {number for number, (_, facts) in enumerate(runs) if facts is None}
        rows = [
            (number, run_id, facts.first_us, facts.last_us)
            for number, (run, facts) in enumerate(runs)
            if facts is not None
            for run_id in _names(run, facts)
        ]
        self._all = set(range(len(runs)))
        self._database = duckdb.connect(config={"threads": "1", "autoload_known_extensions": "false"})
        self._database.execute("SET TimeZone = 'UTC'")
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
        self._database.execute(
            "CREATE TABLE known AS SELECT number, run_id, make_timestamp(first) AS first_at, make_timestamp(last) AS"
            " last_at FROM (SELECT unnest($1::BIGINT[]) AS number, unnest($2::VARCHAR[]) AS run_id,"
            " unnest($3::BIGINT[]) AS first, unnest($4::BIGINT[]) AS last)",
            columns,
        )
        self._database.execute("SET enable_external_access = false")
        self._meeting: dict[str, set[int]] = {}

    def meeting(self, conditions: frozenset[str]) -> set[int]:
        """Numbers of the runs that may have a row that meets all ``conditions``."""
        found = set(self._all)
        for condition in conditions:
            if condition not in self._meeting:
                self._meeting[condition] = self._ask(condition)
            found &= self._meeting[condition]
        return found

    def _ask(self, condition: str) -> set[int]:
        try:
            rows = self._database.execute(f"SELECT number FROM known WHERE {_of_runs(condition)}").fetchall()
        except duckdb.Error:  # about another column, or not a condition: it says nothing of the run
            return self._all
        return {number for (number,) in rows} | self._unknown

    def __enter__(self) -> _Known:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _names(run: Run, facts: Facts) -> set[str]:
    named = {name for name in facts.run_ids if name != OF_PLACE}
    return named | set(run.run_ids.values()) if OF_PLACE in facts.run_ids else named


def _of_runs(condition: str) -> str:
    """``condition`` on a row as one on its run; true where it cannot be said for all of them."""
    pieces = _QUOTED.split(condition)
    outside = " ".join(pieces[::2])
    if re.search(r"\bNOT\b|\bCASE\b|!=", outside) and "timestamp" in outside:
        return "true"
    for before, after in _ATOMS:
        pieces[::2] = [before.sub(after, piece) for piece in pieces[::2]]
    return "".join(pieces)
