"""Every query of the documentation runs on a recording and answers with rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esper_otel.sql import catalogue, connect, select
from tests.recorded import recording
from tests.sql.made_logs import line
from tests.tools import ROOT

QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "guides" / "sql.md").read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_ten_queries_at_least() -> None:
    assert 10 <= len(QUERIES)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_documentation_answers(query: str) -> None:
    runs = [recording("esper-lite-3env-3slot"), recording("esper-lite-rollback")]

    with connect(runs, views=catalogue.views_in(query)) as connection:
        assert select(connection, query).fetchall()


def test_seeds_are_counted_once_where_their_ids_repeat(tmp_path: Path) -> None:
    query = next(query for query in QUERIES if "SEED_PRUNED" in query)
    seed = {"slot_id": "r0c0", "env_id": 0}
    lives = [("a", "SEED_PRUNED"), ("a", "SEED_FOSSILIZED"), ("b", "SEED_PRUNED"), ("b", "SEED_PRUNED")]
    lines = []
    for number, (blueprint, fate) in enumerate(lives):
        born = seed | {"episode_idx": number, "blueprint_id": blueprint, "params": 1}
        lines.append(line("SEED_GERMINATED", born, 2 * number + 1, seed_id="env0_seed_0"))
        lines.append(line(fate, seed | {"episode_idx": number}, 2 * number + 2, seed_id="env0_seed_0"))
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))

    with connect(tmp_path) as connection:
        assert [("a", 2, 1, 1), ("b", 2, 0, 2)] == sorted(select(connection, query).fetchall())


def test_the_list_of_views_is_fresh() -> None:
    listed = (ROOT / "docs" / "reference" / "views.md").read_text(encoding="utf-8")

    assert catalogue.markdown() == listed
