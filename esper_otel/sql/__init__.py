"""SQL queries on runs: typed views over their logs with DuckDB.

Example::

    from esper_otel.sql import connect

    with connect(["telemetry/latest"]) as runs:
        print(runs.sql("SELECT head, avg(head_entropy) FROM tamiyo_updates_by_head GROUP BY head"))
"""

from esper_otel.sql.catalogue import VIEWS
from esper_otel.sql.connect import connect
from esper_otel.sql.select import QueryError, select
from esper_otel.sql.views.view import View

__all__ = ["VIEWS", "QueryError", "View", "connect", "select"]
