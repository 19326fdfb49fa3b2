"""What the server does not do: write, read elsewhere, answer without bounds, or fail without saying why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from esper_otel.log.writer import Writer
from tests.mcp.asked import Assistant, assistant
from tests.recorded import RECORDINGS
from tests.sql.made_logs import line
from tests.tools import python_environment, tool
from tests.waiting import PATIENCE_S


def run_at(directory: Path, events: int = 1) -> Path:
    directory.mkdir(parents=True)
    lines = [line("TAMIYO_INITIATED", {"env_id": number}, number) for number in range(events)]
    (directory / "events.jsonl").write_bytes(b"".join(lines))
    return directory


def test_an_unknown_run_is_answered_with_the_runs_that_there_are(asked: Assistant) -> None:
    said = asked.fails("query_sql", query="FROM runs", runs=["nothing"])

    assert "no run 'nothing'" in said
    assert all(name in said for name in RECORDINGS)
    assert "no run '../x'" in asked.fails("run_overview", run="../x")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM ppo_update", "similar names: ppo_updates"),
        ("SELECT nothing FROM runs", '"nothing" not found'),
        ("DROP VIEW runs", "one read-only statement"),
        ("COPY (SELECT 1) TO '/tmp/x'", "one read-only statement"),
        ("SELECT 1; SELECT 2", "one read-only statement"),
        ("FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("FROM glob('/*')", "disabled by configuration"),
        ("SELECT getenv('HOME')", "does not exist"),
    ],
)
def test_what_may_not_be_asked_is_refused_and_says_why(asked: Assistant, query: str, said: str) -> None:
    assert said in asked.fails("query_sql", query=query)
    assert said in asked.fails("query_sql_markdown", query=query)


def test_an_unknown_view_is_answered_with_near_names(asked: Assistant) -> None:
    assert "similar names: tamiyo_updates" in asked.fails("describe_view", view="tamiyo_update")


def test_rows_beyond_the_limit_are_left_out_and_said_to_be(asked: Assistant) -> None:
    few = asked.asks("query_sql", query="FROM range(11)", limit=10)
    table = asked.says("query_sql_markdown", query="FROM range(11)", limit=10)[1]

    assert [[number] for number in range(10)] == few["rows"]
    assert "the first 10 rows" in few["more"]
    assert "the first 10 rows" in table
    assert "more" not in asked.asks("query_sql", query="FROM range(10)", limit=10)
    assert "less than or equal to 1000" in asked.fails("query_sql", query="FROM range(11)", limit=1001)


def test_an_answer_has_a_size(asked: Assistant) -> None:
    text = asked.says("query_sql", query="FROM raw_events", runs=["esper-lite-3env-3slot"], limit=1000)[1]
    long = asked.rows("SELECT repeat('x', 1000000)")[0][0]

    assert 30_000 < len(text) < 70_000
    assert "bytes are not sent" in json.loads(text)["more"]
    assert len(long) < 10_000
    assert long.endswith("(1000000 characters)")


def test_an_overview_says_which_sections_are_cut(tmp_path: Path) -> None:
    run = run_at(tmp_path / "a")
    epochs = [line("EPOCH_COMPLETED", {"env_id": env, "inner_epoch": 1, "val_accuracy": 1.0}, env) for env in range(59)]
    more = [
        line("EPOCH_COMPLETED", {"env_id": 59 + n, "inner_epoch": 1, "val_accuracy": 1.0}, n, event_id=f"m{n}")
        for n in range(5)
    ]
    (run / "events.jsonl").write_bytes(b"".join([*epochs, *more]))

    with assistant(tmp_path) as session:
        overview = session.asks("run_overview")

    assert "latest_epoch_by_env" in overview["cut"]
    assert 0 < len(overview["latest_epoch_by_env"]) <= 60
    assert 64 == overview["mean_accuracy_of_envs"][0]["envs"]


def test_numbers_that_are_not_finite_are_named(asked: Assistant) -> None:
    assert [["NaN", "-Infinity", None]] == asked.rows("SELECT 'nan'::DOUBLE, '-inf'::DOUBLE, NULL")


def test_a_question_that_takes_too_long_is_ended_and_the_next_one_answered(tmp_path: Path) -> None:
    run_at(tmp_path / "runs" / "a")
    (tmp_path / "temporary").mkdir()

    with assistant(tmp_path / "runs", "--timeout", "10", temporary=tmp_path / "temporary") as session:
        said = session.fails(
            "query_sql", query="SELECT sum(a.range * b.range) FROM range(1e7::BIGINT) a, range(1e7::BIGINT) b"
        )

        assert "no answer within 10 s" in said
        assert "compact" in said
        assert [[1]] == session.rows("SELECT count(*) FROM raw_events")
    assert [] == list((tmp_path / "temporary").iterdir())


def test_a_question_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    run_at(tmp_path / "a")

    with assistant(tmp_path, "--memory-limit", "200MB") as session:
        for query in ("SELECT list(range || 'text') FROM range(10000000)", "SELECT repeat('a', 4000000000)"):
            said = session.fails("query_sql", query=query)
            assert "Out of Memory" in said
            assert "larger --memory-limit" in said
            assert "SET" not in said
        assert [[1]] == session.rows("SELECT count(*) FROM raw_events")


def test_what_was_logged_since_is_in_the_next_answer_and_nothing_is_written(tmp_path: Path) -> None:
    run = run_at(tmp_path / "a", events=2)
    with assistant(tmp_path) as session:
        first = session.rows("SELECT count(*) FROM tamiyo_initiated")
        with (run / "events.jsonl").open("ab") as log:
            log.write(line("TAMIYO_INITIATED", {"env_id": 7}, 7))
        second = session.rows("SELECT count(*) FROM tamiyo_initiated")
        session.asks("list_runs")
        run_at(tmp_path / "b")

        assert ([[2]], [[3]]) == (first, second)
        assert {"a", "b"} == {found["run"] for found in session.asks("list_runs")["runs"]}
    assert ["events.jsonl"] == [path.name for path in run.iterdir()]


def test_a_run_without_an_event_is_listed_and_a_question_about_it_says_so(tmp_path: Path) -> None:
    run_at(tmp_path / "older", events=2)
    Writer(tmp_path / "begun", "begun", heartbeat_s=0).close()

    with assistant(tmp_path) as session:
        listed = {found["run"]: found for found in session.asks("list_runs")["runs"]}
        said = session.fails("query_sql", query="FROM raw_events", runs=["begun"])
        newest = session.rows("SELECT count(*) FROM raw_events")

    assert {"older", "begun"} == set(listed)
    assert "problem" not in listed["begun"]
    assert "run 'begun' has recorded no event yet; runs: older" in said
    assert [[2]] == newest


def test_what_reaches_outside_by_a_link_is_not_there(tmp_path: Path) -> None:
    run_at(tmp_path / "secret" / "outside", events=5)
    runs = tmp_path / "runs"
    run_at(runs / "inside")
    (runs / "latest").symlink_to("inside")
    (runs / "linked").symlink_to(tmp_path / "secret" / "outside")
    (runs / "of_links").mkdir()
    (runs / "of_links" / "events.jsonl").symlink_to(tmp_path / "secret" / "outside" / "events.jsonl")
    (tmp_path / "secret" / "status.json").write_text('{"status": "secret"}')
    (run_at(runs / "said_elsewhere") / "run.json").symlink_to(tmp_path / "secret" / "status.json")

    with assistant(runs) as session:
        assert ["inside"] == [found["run"] for found in session.asks("list_runs")["runs"]]
        assert "runs: inside" in session.fails("query_sql", query="FROM raw_events", runs=["linked"])


def test_runs_of_one_name_are_told_apart_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    run_at(tmp_path / "x" / "run", events=1)
    damaged = run_at(tmp_path / "y" / "run", events=2)
    (damaged / "run.json").write_text("{")

    with assistant(tmp_path / "x", tmp_path / "y") as session:
        listed = {found["run"]: found.get("problem") for found in session.asks("list_runs")["runs"]}
        counts = session.rows("SELECT run_id, count(*) FROM raw_events GROUP BY ALL", runs=["x/run", "y/run"])

    assert {"x/run", "y/run"} == set(listed)
    assert listed["x/run"] is None
    assert "run.json is not JSON" in str(listed["y/run"])
    assert {"x/run": 1, "y/run": 2} == dict(counts)


def started(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [tool("esper-otel")] if code is None else [sys.executable, "-c", code]
    return subprocess.run(
        [*command, "mcp", *arguments],
        env=python_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['mcp'] = None; from esper_otel.cli import main; main()"

    ended = started(str(tmp_path), code=code)

    assert (2, "") == (ended.returncode, ended.stdout)
    assert '[mcp]"' in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("/nothing",), "/nothing does not exist"), (("/", "--memory-limit", "much"), "--memory-limit")],
)
def test_a_wrong_argument_is_said_at_once(arguments: tuple[str, ...], said: str) -> None:
    ended = started(*arguments)

    assert 2 == ended.returncode
    assert said in ended.stderr


def test_it_ends_when_the_assistant_closes_its_input(tmp_path: Path) -> None:
    assert (0, "") == (started(str(tmp_path)).returncode, "")
