"""Events of a user's own class: the log describes them, so that readers that cannot import the class show them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from esper_otel.sql import connect
from esper_otel.sql.compact import compact
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.processes import announced_url, lines_of, process, relay, samples, scrape, wait_for


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A log that was copied to another place, with 10 events of the class and nothing else of its program."""
    emit(tmp_path / "there", 10)
    return Path(shutil.copytree(tmp_path / "there" / "run", tmp_path / "here" / "run"))


def emit(directory: Path, events: int) -> None:
    with process("-m", "tests.relay.custom_child", str(directory), str(events)) as child:
        _, errors = child.communicate()
    assert (child.returncode, errors) == (0, "")


def value(url: str, name: str, **labels: str) -> float | None:
    wanted = tuple(sorted({"group_id": "default", "rank": "0", **labels}.items()))
    return samples(scrape(url)).get((name, wanted))


def test_the_declaration_stands_before_the_first_event_and_once_a_session(moved: Path) -> None:
    emit(moved.parent, 3)

    types = [line["event_type"] for line in lines_of(moved) if line["event_type"] not in {"RUN_ENDED", "HEARTBEAT"}]
    assert types == ["EVENT_DECLARED", *["SIMIC_CURRICULUM"] * 10, "EVENT_DECLARED", *["SIMIC_CURRICULUM"] * 3]


def test_a_relay_that_cannot_import_the_class_serves_its_metrics(moved: Path) -> None:
    with relay(moved, "--linger", "600"):
        url = announced_url(moved)

        assert value(url, "simic_curriculum_choices_total", task="maze-0") == 5
        assert value(url, "simic_curriculum_hardness", task="maze-1") == 0.09
        assert value(url, "simic_curriculum_score", task="maze-1", skill="jump") == 9
        assert value(url, "simic_curriculum_lost_total", task="maze-1", kind="nan") == 1
        assert "unknown_event_type" not in scrape(url)


def test_a_relay_that_was_killed_goes_on_with_what_it_had_counted(moved: Path) -> None:
    with relay(moved, "--follow", "--linger", "600") as first:
        wait_for((moved / "relay" / "metrics.json").exists, "a stored state")
        first.kill()
        first.wait()
    emit(moved.parent, 4)
    with relay(moved, "--follow", "--linger", "600") as second:
        url = announced_url(moved, second.pid)

        wait_for(lambda: value(url, "simic_curriculum_choices_total", task="maze-0") == 7, "the new events")
        assert value(url, "simic_curriculum_choices_total", task="maze-1") == 7


def test_its_events_are_delivered_as_log_events(moved: Path) -> None:
    with OtlpReceiver() as receiver:
        with relay(moved, "--linger", "0", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as child:
            child.communicate()
        records = [record for record in receiver.logs if record.event_name == "simic.curriculum"]

    assert len(records) == 10
    found = attributes(records[3])
    assert found["simic.hardness"] == 0.03
    assert found["simic.scores.jump"] == 3


def test_sql_has_a_view_with_its_columns_and_rejects_no_line(moved: Path) -> None:
    query = "SELECT task, hardness, scores['jump'] AS jump FROM simic_curriculum ORDER BY seq LIMIT 3"
    rows = connect(moved, query=query).execute(query).fetchall()

    assert [rows[0], rows[2]] == [("maze-0", 0.0, 0.0), ("maze-0", 0.02, 2.0)]
    assert rows[1][1] != rows[1][1]  # NaN is an observation
    assert connect(moved).execute("SELECT count(*) FROM rejected_lines").fetchall() == [(0,)]


def test_the_catalogue_of_the_run_has_a_row_for_each_of_its_metrics(moved: Path) -> None:
    with process(str(Path(sys.executable).parent / "esper-otel"), "signals", str(moved), "--format", "json") as child:
        said, errors = child.communicate()
    rows = {row["name"]: row for row in json.loads(said) if row["event_type"] == "SIMIC_CURRICULUM"}

    assert errors == ""
    assert {name: (row["prometheus_name"], row["field"]) for name, row in rows.items()} == {
        "simic.curriculum.choices": ("simic_curriculum_choices_total", None),
        "simic.curriculum.hardness": ("simic_curriculum_hardness", "hardness"),
        "simic.curriculum.lost": ("simic_curriculum_lost_total", "hardness"),
        "simic.curriculum.score": ("simic_curriculum_score", "scores"),
    }
    assert rows["simic.curriculum.score"]["attributes"] == ["group_id", "rank", "task", "skill"]


def test_a_compacted_run_has_the_view_as_well(moved: Path, tmp_path: Path) -> None:
    compact(moved, tmp_path / "parquet")
    query = "SELECT task, count(*), max(hardness) FROM simic_curriculum WHERE hardness < 1 GROUP BY ALL ORDER BY 1"

    assert connect(tmp_path / "parquet", query=query).execute(query).fetchall() == [
        ("maze-0", 5, 0.08),
        ("maze-1", 4, 0.09),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": "simic_curriculum"},
        {"fields": [{"name": name, "type": "number", "description": "x"} for name in ("task", "TASK")]},
        {"event_type": 'X" AS SELECT 1; --'},
    ],
)
def test_a_declaration_that_breaks_a_rule_has_no_view_and_costs_no_other(
    moved: Path, changes: dict[str, object]
) -> None:
    log = moved / "events.jsonl"
    declared = json.loads(log.read_text().splitlines()[0])
    declared["data"]["declaration"] = json.dumps({**json.loads(declared["data"]["declaration"]), **changes})
    log.write_text(log.read_text() + json.dumps(declared | {"seq": 1000, "event_id": "run-0-1000"}) + "\n")

    query = "SELECT count(*) FROM simic_curriculum"
    assert connect(moved, query=query).execute(query).fetchall() == [(10,)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attributes": ["task", "a", "b", "c"]}, "a, b, c are no fields"),
        ({"attributes": ["task", *(f"a{n}" for n in range(3_000))]}, "a0, a1, a10,"),
        ({"event_type": "SIMIC\nesper-otel relay: all is well"}, "is one of SIMIC\\nesper-otel"),
        ({"metrics": [{"instrument": "counter", "name": "tamiyo.policy_loss", "description": "x"}]}, "of the contract"),
        ({"metrics": [{"instrument": "counter", "name": "simic.x", "unit": "parsec", "description": "x"}]}, "parsec"),
        ({"event_type": "TAMIYO_POLICY_UPDATE"}, "of TAMIYO_POLICY_UPDATE"),
        ({"fields": [{"name": f"f{n}", "type": "number", "description": "x"} for n in range(3_000)]}, "bytes"),
        ({"fields": [{"name": "x", "type": "object", "description": "x"}]}, "no known type"),
        ({"domain": "mars"}, "Invalid enum value 'mars'"),
    ],
)
def test_a_hostile_declaration_costs_one_line_and_nothing_else(
    moved: Path, changes: dict[str, object], reason: str
) -> None:
    log = moved / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    declared = lines[0]["data"]
    declared["declaration"] = json.dumps({**json.loads(declared["declaration"]), **changes})
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    with relay(moved, "--linger", "600") as child:
        text = scrape(announced_url(moved))
        child.terminate()
        _, errors = child.communicate()

    assert all(line.startswith("esper-otel relay: ") for line in errors.splitlines()), errors
    about = [line for line in errors.splitlines() if "declares an event that breaks a rule" in line]
    assert len(about) == 1
    assert reason in about[0]
    assert 'esper_telemetry_rejected_records_total{reason="unknown_event_type"} 10.0' in text
    assert "Traceback" not in errors
