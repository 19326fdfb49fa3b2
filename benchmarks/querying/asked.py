"""The queries, and DuckDB's times of them: ``python -m benchmarks.querying.asked ADDRESS VIEW…`` prints JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Final

from esper_otel.sql import VIEWS, View, connect
from esper_otel.sql.views.columns import quoted

Times = dict[str, tuple[float, float, int]]
"""Seconds by the clock, seconds of the processor and rows, by view; the creation of all views under the empty name."""


def _query(view: View) -> str:
    return f"SELECT count(*), {', '.join(f'count({quoted(column.name)})' for column in view.columns)} FROM {view.name}"


QUERIES: Final = {view.name: _query(view) for view in VIEWS.values()}


def main() -> None:
    """Ask the views, each on a connection of its own, as ``esper-otel sql`` does."""
    found: Times = {}
    for name in sys.argv[2:]:
        query = QUERIES[name]
        began, used = time.perf_counter(), time.process_time()
        with connect(sys.argv[1], query=query) as runs:
            rows = runs.execute(query).fetchall()[0][0]
        found[name] = (time.perf_counter() - began, time.process_time() - used, rows)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
