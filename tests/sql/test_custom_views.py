"""The data behind users' own events is read for queries that name one, and for no other: it is the whole log."""

from __future__ import annotations

import re

import pytest

from esper_otel.sql.custom import may_need
from tests.tools import ROOT


def queries_of_pages() -> list[str]:
    pages = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "clickhouse.md"]  # its own SQL
    texts = [path.read_text(encoding="utf-8") for path in pages]
    fenced = [block for text in texts for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)]
    asked = [query for text in texts for query in re.findall(r"esper-otel sql \S+ [\"'](.*?)[\"']\n", text)]
    return [query for query in fenced + asked if "simic_curriculum" not in query]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT task, hardness FROM simic_curriculum",
        'SELECT * FROM tamiyo_updates JOIN "simic_curriculum" USING (run_id)',
        "WITH a AS (SELECT * FROM runs) SELECT * FROM a JOIN Simic_Curriculum USING (run_id)",
    ],
)
def test_a_query_that_names_another_view_needs_it(query: str) -> None:
    assert may_need(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT run_id, max(lr), count(*) FROM tamiyo_updates, runs GROUP BY ALL",
        "WITH a AS (SELECT * FROM runs), b AS MATERIALIZED (FROM a) SELECT extract(hour FROM timestamp) FROM b",
        "SELECT a IS DISTINCT FROM b FROM runs",
        "SELECT * FROM unnest([1, 2]) JOIN range(3) ON true",
        "FROM (SELECT 1)",
    ],
)
def test_a_query_that_names_none_reads_no_more_than_before(query: str) -> None:
    assert not may_need(query)


def test_no_query_of_the_documentation_reads_the_whole_log_for_nothing() -> None:
    queries = queries_of_pages()

    assert len(queries) > 20
    assert [query for query in queries if may_need(query)] == []
