"""Every tool answers what plain Python counts in the recordings' raw lines."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.asked import Assistant
from tests.recorded import RECORDINGS

Line = dict[str, Any]
Lines = dict[str, list[Line]]

TOOLS = {"query_sql", "query_sql_markdown", "list_views", "describe_view", "list_runs", "run_overview"} | {
    "diagnose_run",
    "compare_runs",
    "run_goodput",
    "list_findings",
}


def of(lines: list[Line], event_type: str, kind: str | None = None) -> list[Line]:
    """Payloads of one type, and kind of snapshot."""
    found = [line["data"] for line in lines if line["event_type"] == event_type]
    return found if kind is None else [data for data in found if data["kind"] == kind]


@pytest.fixture(params=RECORDINGS)
def run(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def overviews(asked: Assistant) -> dict[str, dict[str, Any]]:
    return {name: asked.asks("run_overview", run=name) for name in RECORDINGS}


@pytest.fixture
def overview(overviews: dict[str, dict[str, Any]], run: str) -> dict[str, Any]:
    return overviews[run]


def test_these_are_the_tools_and_none_changes_anything(asked: Assistant) -> None:
    tools = asked.tools()

    assert TOOLS == {tool.name for tool in tools}
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)


def test_list_runs_says_what_the_first_event_of_each_says(asked: Assistant, lines: Lines) -> None:
    listed = {run["run"]: run for run in asked.asks("list_runs")["runs"]}

    assert set(RECORDINGS) == set(listed)
    for name, found in listed.items():
        (started,) = of(lines[name], "TRAINING_STARTED")
        for field in ("task", "seed", "n_envs", "n_episodes", "reward_mode", "lr"):
            assert started[field] == found["settings"][field], field
        assert Path(found["path"]).stat().st_size == found["size_bytes"]


def test_a_query_counts_what_the_lines_hold(asked: Assistant, lines: Lines, run: str) -> None:
    query = "SELECT action_name, count(*), sum(total_reward) FROM decisions GROUP BY ALL"
    expected: dict[str, list[float]] = {}
    for data in of(lines[run], "ANALYTICS_SNAPSHOT", "last_action"):
        expected.setdefault(data["action_name"], []).append(data["total_reward"])

    found = {name: (count, total) for name, count, total in asked.rows(query, runs=[run])}

    assert {name: (len(values), pytest.approx(sum(values))) for name, values in expected.items()} == found


def test_a_query_goes_over_several_runs(asked: Assistant, lines: Lines) -> None:
    found = asked.rows("SELECT run_id, count(*) FROM raw_events GROUP BY ALL", runs=list(RECORDINGS))

    assert {name: len(each) for name, each in lines.items()} == dict(found)


def test_a_table_for_people_has_the_same_rows(asked: Assistant, lines: Lines, run: str) -> None:
    query = "SELECT batch_idx, avg_accuracy FROM tolaria_batches ORDER BY batch_idx"
    expected = [f"| {data['batch_idx']} | {data['avg_accuracy']} |" for data in of(lines[run], "BATCH_EPOCH_COMPLETED")]

    is_error, text = asked.says("query_sql_markdown", query=query, runs=[run])

    assert not is_error
    assert ["| batch_idx | avg_accuracy |", "| --- | --- |", *expected] == text.splitlines()


def test_views_are_described_as_duckdb_describes_them(asked: Assistant) -> None:
    views = asked.asks("list_views")

    assert 60 < len(views)
    for view in views[::8]:
        described = asked.asks("describe_view", view=view["view"])["columns"]
        found = asked.rows(f"DESCRIBE {view['view']}", limit=1000)
        assert [row[:2] for row in found] == [column[:2] for column in described]
        assert len(found) == view["columns"]


def test_the_overview_has_the_configuration(overview: dict[str, Any], lines: Lines, run: str) -> None:
    (expected,) = of(lines[run], "TRAINING_STARTED")
    (found,) = overview["configuration"]

    fields = ("task", "seed", "n_envs", "max_batches", "lr", "clip_ratio", "entropy_coef", "slot_ids", "host_params")
    assert {name: expected[name] for name in fields} == {name: found[name] for name in fields}


@pytest.mark.parametrize(
    ("section", "event_type", "kind", "fields"),
    [
        ("latest_batch", "BATCH_EPOCH_COMPLETED", None, ("batch_idx", "avg_accuracy", "avg_reward")),
        ("latest_batch_stats", "ANALYTICS_SNAPSHOT", "batch_stats", ("batch", "seeds_created", "host_accuracy")),
        ("latest_update", "PPO_UPDATE_COMPLETED", None, ("policy_loss", "entropy", "pre_clip_grad_norm", "batch")),
    ],
)
def test_the_overview_has_the_latest(
    overview: dict[str, Any], lines: Lines, run: str, section: str, event_type: str, kind: str | None, fields: list[str]
) -> None:
    latest = of(lines[run], event_type, kind)[-1]
    (found,) = overview[section]

    assert {name: latest[name] for name in fields} == {name: found[name] for name in fields}


def test_the_overview_has_the_accuracy_of_each_environment(overview: dict[str, Any], lines: Lines, run: str) -> None:
    latest = {data["env_id"]: data["val_accuracy"] for data in of(lines[run], "EPOCH_COMPLETED")}

    assert latest == {row["env_id"]: row["val_accuracy"] for row in overview["latest_epoch_by_env"]}
    assert statistics.fmean(latest.values()) == overview["mean_accuracy_of_envs"][0]["mean_val_accuracy"]


def test_the_overview_says_where_entropy_goes(overview: dict[str, Any], lines: Lines, run: str) -> None:
    last = [data["entropy"] for data in of(lines[run], "PPO_UPDATE_COMPLETED")][-10:]
    slope = statistics.linear_regression(range(len(last)), last).slope
    (found,) = overview["entropy_of_last_10_updates"]

    assert last[::-1] == found["newest_first"]
    assert pytest.approx(slope) == found["slope_per_update"]
    assert (pytest.approx(last[-1] / -slope) if slope < 0 else None) == found.get("updates_until_zero")


def test_the_overview_counts_seeds_by_event_and_blueprint(overview: dict[str, Any], lines: Lines, run: str) -> None:
    changes = ("SEED_GERMINATED", "SEED_STAGE_CHANGED", "SEED_FOSSILIZED", "SEED_PRUNED")
    events = Counter(line["event_type"] for line in lines[run] if line["event_type"] in changes)
    germinated = Counter(data["blueprint_id"] for data in of(lines[run], "SEED_GERMINATED"))
    pruned = Counter(data["blueprint_id"] for data in of(lines[run], "SEED_PRUNED"))

    assert events == {row["event_type"]: row["events"] for row in overview["seed_events"]}
    assert germinated == {row["blueprint_id"]: row["germinated"] for row in overview["blueprints"]}
    assert pruned == +Counter({row["blueprint_id"]: row["pruned"] for row in overview["blueprints"]})


def test_the_overview_has_the_action_mix_and_how_it_drifts(overview: dict[str, Any], lines: Lines, run: str) -> None:
    decisions = of(lines[run], "ANALYTICS_SNAPSHOT", "last_action")
    shares = [
        {name: count / sum(data["action_counts"].values()) for name, count in data["action_counts"].items()}
        for data in of(lines[run], "ANALYTICS_SNAPSHOT", "action_distribution")
    ]
    drifts = [
        sum(abs(new.get(name, 0) - old.get(name, 0)) for name in {*new, *old}) / 2 for old, new in pairwise(shares)
    ]

    assert Counter(data["action_name"] for data in decisions) == {
        row["action_name"]: row["decisions"] for row in overview["actions"]
    }
    assert decisions[-1]["action_name"] == overview["recent_decisions"][0]["action_name"]
    assert pytest.approx(drifts[::-1]) == [row["drift"] for row in overview["action_mix_drift"]]


def test_the_overview_has_the_reward_of_the_last_steps(overview: dict[str, Any], lines: Lines, run: str) -> None:
    rewards = [data["total_reward"] for data in of(lines[run], "ANALYTICS_SNAPSHOT", "last_action")][-100:]
    (found,) = overview["reward_of_last_100_steps"]

    assert (len(rewards), max(rewards), min(rewards)) == (found["steps"], found["highest"], found["lowest"])
    assert pytest.approx(statistics.fmean(rewards)) == found["mean_reward"]


def anomalies_in(lines: list[Line]) -> Iterator[str]:
    renamed = {"GOVERNOR_ROLLBACK": "TOLARIA_ROLLBACK"}
    words = ("ANOMALY", "DETECTED", "ROLLBACK", "DEGRADATION")
    for line in lines:
        if line["event_type"].endswith(words) and line["event_type"] not in ("IMPROVEMENT_DETECTED",):
            yield renamed.get(line["event_type"], line["event_type"])
        if (line["data"] or {}).get("skipped_update"):
            yield "TAMIYO_UPDATE_SKIPPED"


def test_the_overview_counts_anomalies(overview: dict[str, Any], lines: Lines, run: str) -> None:
    expected = Counter(anomalies_in(lines[run]))

    assert expected == {row["event_type"]: row["events"] for row in overview.get("anomalies", [])}


def test_the_overview_has_the_best_outcomes_and_whether_reward_follows_accuracy(
    overview: dict[str, Any], lines: Lines, run: str
) -> None:
    rewards = sorted((data["episode_reward"] for data in of(lines[run], "EPISODE_OUTCOME")), reverse=True)
    batches = of(lines[run], "BATCH_EPOCH_COMPLETED")
    pairs = [(data["avg_reward"], data["avg_accuracy"]) for data in batches]
    (found,) = overview["reward_and_accuracy_of_last_50_batches"]

    assert rewards[:10] == [row["episode_reward"] for row in overview["best_10_outcomes_by_reward"]]
    assert pytest.approx(statistics.correlation(*zip(*pairs, strict=True))) == found["correlation"]


def test_the_newest_run_is_asked_when_none_is_named(asked: Assistant) -> None:
    newest = asked.asks("list_runs", limit=1)["runs"][0]["run"]

    assert [[newest]] == asked.rows("SELECT DISTINCT run_id FROM runs")
    assert newest == asked.asks("run_overview")["run"]


def test_the_diagnosis_of_a_run_is_that_of_the_command(asked: Assistant) -> None:
    found = asked.asks("diagnose_run", run="esper-lite-rollback")

    kinds = [finding["kind"] for finding in found["findings"]]
    assert "rollbacks" in kinds
    assert all(finding["next_step"] and finding["query"] for finding in found["findings"])


def test_the_goodput_of_a_run_sums_to_its_wall_time_and_names_what_nothing_measured(asked: Assistant) -> None:
    (found,) = asked.asks("run_goodput", run="esper-lite-2env")["ranks"]

    assert sum(found["spent_s"].values()) == pytest.approx(found["wall_s"])
    assert found["shares"]["useful steps"] > 0.5
    assert "waiting for data" in found["not_measured"]


def test_a_run_that_no_relay_judged_has_no_findings_in_its_log(asked: Assistant) -> None:
    assert asked.asks("list_findings", run="esper-lite-2env") == {"findings": []}


def test_two_runs_are_compared_and_one_a_side_is_no_verdict(asked: Assistant) -> None:
    found = asked.asks("compare_runs", a=["esper-lite-2env"], b=["esper-lite-3env-3slot"])

    assert found["verdict"].startswith("No verdict: one run a side")
    assert "n_envs" in [name for name, _, _ in found["settings"]]
