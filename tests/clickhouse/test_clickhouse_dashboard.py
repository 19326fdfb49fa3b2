"""The panels' SQL answers in ClickHouse what DuckDB finds in the runs; Grafana itself is not asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esper_otel.sql import connect
from esper_otel.sql.clickhouse.place import place_of
from grafana import provisioning_files
from grafana.build import dashboard_files
from grafana.built import Json
from grafana.clickhouse.dashboard import dashboard
from grafana.clickhouse.queries import PARAMETERS
from grafana.layout.board import INTERVALS
from grafana.looks import lines_are_full, titles_fit
from tests.archive.rows import archived
from tests.clickhouse.engine import ClickHouse
from tests.recorded import RECORDINGS, recording

BEST, BY_ROUND = dashboard()["panels"]
EVER = (0, 4_000_000_000)
Rows = list[list[object]]


@pytest.fixture(scope="module")
def asked(clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    archive = f"file://{tmp_path_factory.mktemp('archive')}"
    for name in RECORDINGS:
        archived(recording(name), archive)
    clickhouse.create(place_of(archive))
    return clickhouse


def answer(asked: ClickHouse, panel: Json, during: tuple[int, int] = EVER, **chosen: str) -> Rows:
    """Rows of a panel, with macros and variables replaced as the plugin and Grafana do."""
    (target,) = panel["targets"]
    first, last = (f"toDateTime({second})" for second in during)
    values = {variable["name"]: variable.get("current", {}).get("value") for variable in _variables()} | chosen
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {first} AND \1 <= {last}", target["rawSql"])
    sql = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], sql)
    assert "$" not in sql
    asked.ask("USE esper")
    rows = asked.rows(sql)
    asked.ask("USE default")
    return rows


def _variables() -> list[Json]:
    found: list[Json] = dashboard()["templating"]["list"]
    return found


@pytest.fixture(scope="module")
def of_duckdb() -> Iterator[Callable[[str], Rows]]:
    with connect([recording(name) for name in RECORDINGS]) as connection:
        yield lambda sql: [list(row) for row in connection.execute(sql).fetchall()]


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_the_best_reward_of_each_run_stands_above_what_it_was_configured_by(
    asked: ClickHouse, of_duckdb: Callable[[str], Rows], parameter: str
) -> None:
    best = of_duckdb(
        "SELECT mode, run_id, group_id, p, max(avg_reward) AS best FROM tolaria_batches JOIN (SELECT DISTINCT run_id,"
        f" group_id, reward_mode AS mode, {parameter}::DOUBLE AS p FROM runs) USING (run_id, group_id)"
        " WHERE p IS NOT NULL GROUP BY ALL ORDER BY p, best"
    )

    assert best == answer(asked, BEST, parameter=parameter)
    assert best or parameter != "lr"


def test_the_rewards_of_all_rounds_stand_over_one_another(asked: ClickHouse, of_duckdb: Callable[[str], Rows]) -> None:
    rounds = "SELECT run_id, group_id, batch_idx, avg(avg_reward) FROM tolaria_batches GROUP BY ALL ORDER BY ALL"

    assert of_duckdb(rounds) == answer(asked, BY_ROUND) != []


def test_several_rounds_make_a_point_and_only_the_newest_runs_are_shown(
    asked: ClickHouse, of_duckdb: Callable[[str], Rows]
) -> None:
    ((newest, mean),) = of_duckdb(
        "SELECT run_id, avg(avg_reward) FROM tolaria_batches WHERE batch_idx <= 100"
        " AND run_id = (SELECT arg_max(run_id, started_at) FROM runs) GROUP BY ALL"
    )

    assert [[newest, "default", 1, pytest.approx(mean)]] == answer(asked, BY_ROUND, newest="1", point="100")


def test_runs_of_another_time_are_not_shown(asked: ClickHouse) -> None:
    assert [] == answer(asked, BEST, (0, 1)) == answer(asked, BY_ROUND, (0, 1))


def test_the_dashboard_keeps_the_rules_that_are_not_about_prometheus() -> None:
    built = dashboard()

    assert [] == [*titles_fit(built), *lines_are_full(built)]
    assert built["editable"] is False
    assert built["refresh"] in INTERVALS
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in built["panels"])


def test_the_default_stack_does_not_load_it(tmp_path: Path) -> None:
    default = [*dashboard_files().values(), *provisioning_files.generated(tmp_path).values()]

    assert [] == [text for text in default if "grafana-clickhouse-datasource" in text]
