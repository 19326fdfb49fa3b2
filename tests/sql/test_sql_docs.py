"""Every query of the documentation runs on a recording and answers with rows."""

from __future__ import annotations

import re

import pytest

from esper_otel.sql import catalogue, connect, select
from tests.recorded import recording
from tests.tools import ROOT

QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "sql.md").read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_ten_queries_at_least() -> None:
    assert 10 <= len(QUERIES)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_documentation_answers(query: str) -> None:
    runs = [recording("esper-lite-3env-3slot"), recording("esper-lite-rollback")]

    with connect(runs, views=catalogue.views_in(query)) as connection:
        assert select(connection, query).fetchall()


def test_the_list_of_views_is_fresh() -> None:
    listed = (ROOT / "docs" / "sql-views.md").read_text(encoding="utf-8")

    assert catalogue.markdown() == listed
