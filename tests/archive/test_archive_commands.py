"""Every command reads archived runs by their address, and no more of them than it needs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from esper_otel.archive.address import Address, address_of, is_address
from esper_otel.sql import connect
from esper_otel.sql.views.tables import TABLES
from tests.archive.object_store import BUCKET, Proxy
from tests.archive.rows import archived, command
from tests.archive.test_archive_equals_log import recorded
from tests.runs import lives

TO = f"s3://{BUCKET}/runs"


def test_the_list_of_an_archive_shows_what_the_list_of_the_directory_shows(archive: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    recorded(runs, "ours", ranks=2)
    lives.append(
        runs / "ended", lives.started(lr=0.1), lives.batch(1, 5.0, 70.0), lives.batch(2, 4.0, 90.0), lives.ended(9)
    )
    lives.append(
        runs / "ended",
        lives.line(0, "TRAINING_STARTED", 1),
        lives.update(5, "NaN", rank=1),
        lives.ended(8, rank=1),
        rank=1,
    )
    lives.told(runs / "ended", status="finished", tags=["baseline"], argv=["train.py", "--depth", "3"], world_size=2)
    lives.append(runs / "open", lives.started(lr=0.2), lives.batch(1, 1.0, 60.0), lives.update(4, 0.5))
    for run in ("ours", "ended", "open"):
        archived(runs / run, archive)

    def listed(place: object) -> list[dict[str, object]]:
        found = json.loads(command("runs", str(place), "--json", "--sort", "run"))
        return [{name: value for name, value in row.items() if name != "path"} for row in found]

    assert 3 == len(listed(runs))
    assert listed(runs) == listed(archive)
    assert "baseline" in command("runs", archive, "--where", "tags = baseline")
    assert ["ended"] == [row["run"] for row in listed(f"{archive}/run_id=ended")]


def test_an_archive_means_its_newest_run_and_all_of_them_where_asked(archive: str, tmp_path: Path) -> None:
    for number, name in enumerate(("old", "new", "middle")):
        at = {"old": 1, "new": 50, "middle": 20}[name]
        archived(lives.append(tmp_path / name, lives.batch(at + number, 1.0, 50.0)), archive)
    query = "SELECT DISTINCT run_dir FROM raw_events ORDER BY 1"

    assert "run_dir\nnew\n" == command("sql", archive, query, "--format", "csv")
    assert "run_dir\nmiddle\nnew\nold\n" == command("sql", "--all-runs", archive, query, "--format", "csv")
    assert "run_dir\nold\n" == command("sql", f"{archive}/run_id=old", query, "--format", "csv")
    both = command("sql", f"{archive}/run_id=old", tmp_path / "new", query, "--format", "csv")
    assert "run_dir\nnew\nold\n" == both


def test_a_run_that_is_named_like_a_directory_is_answered_with_its_address(tmp_path: Path) -> None:
    archive = (tmp_path / "archive").as_uri()
    archived(lives.append(tmp_path / "mine", lives.batch(1, 1.0, 50.0)), archive)

    assert f"the run is at {archive}/run_id=mine" in command("diagnose", f"{archive}/mine", status=2)
    assert "there is no such directory" in command("diagnose", f"{archive}/other", status=2)


def test_report_diagnosis_comparison_goodput_and_trace_are_those_of_the_run(archive: str, tmp_path: Path) -> None:
    trained = recorded(tmp_path / "runs", "trained")
    archived(trained, archive)
    address = f"{archive}/run_id={trained.name}"

    for words in (("diagnose", "--json"), ("goodput", "--json"), ("compare", "--json")):
        name, *options = words
        here = [trained, trained] if name == "compare" else [trained]
        there = [address, address] if name == "compare" else [address]
        status = 4 if name == "diagnose" else 0  # some losses are NaN
        assert command(name, *here, *options, status=status) == command(name, *there, *options, status=status)
    pages = []
    for run in (trained, address):
        command("report", run, "-o", tmp_path / "report.html")
        pages.append(re.sub(r'"plot[^"]*"|[0-9a-f]{8}-[0-9a-f-]{27}', "", (tmp_path / "report.html").read_text()))
    assert pages[0] == pages[1]
    for number, run in enumerate((trained, address)):
        command("trace", run, "-o", tmp_path / f"{number}.json")
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()


def test_a_query_gets_the_files_of_its_tables_runs_and_times_alone(s3: Proxy, tmp_path: Path) -> None:
    for number in range(8):
        run = tmp_path / f"run-{number}"
        lives.append(run, lives.started(100 * number), lives.batch(100 * number + 1, 1.0, 50.0))
        archived(run, TO)

    def got(query: str) -> list[str]:
        s3.requests.clear()
        with connect(f"{TO}/run_id=*", query=query) as connection:
            connection.execute(query).fetchall()
        return sorted(
            re.sub(r".*/run_id=([^/]+)/rank=0/(\w+)\..*", r"\1 \2", unquote(path)) for path in s3.gets(".parquet")
        )

    assert ["run-3 raw"] == got(
        "SELECT * FROM raw_events WHERE run_dir LIKE 'run%' AND timestamp BETWEEN"
        f" make_timestamp({lives.START_S + 250}000000) AND make_timestamp({lives.START_S + 350}000000)"
    )
    assert ["run-5 tolaria_batch_completed"] == got(
        f"SELECT count(*) FROM tolaria_batches WHERE timestamp >= make_timestamp({lives.START_S + 450}000000)"
        f" AND timestamp < make_timestamp({lives.START_S + 550}000000)"
    )
    assert 8 == len(got("SELECT count(*) FROM tolaria_batches"))
    assert [] == got("SELECT * FROM tamiyo_updates")


def test_a_list_of_many_runs_reads_each_description_once(s3: Proxy, tmp_path: Path) -> None:
    for number in range(25):
        archived(lives.append(tmp_path / f"r{number}", lives.batch(number + 1, 1.0, 50.0)), TO)

    def reads() -> int:
        s3.requests.clear()
        assert 25 == len(json.loads(command("runs", TO, "--json")))
        return len(s3.gets("_segments/"))

    assert (25, 0) == (reads(), reads())
    archived(lives.append(tmp_path / "one-more", lives.batch(1, 1.0, 50.0)), TO)
    s3.requests.clear()
    assert 26 == len(json.loads(command("runs", TO, "--json")))
    assert 1 == len(s3.gets("_segments/"))


def test_an_archive_of_an_earlier_contract_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of a file are those of its day: what it lacks is NULL, what nobody knows any more is left out."""
    run, to = lives.append(tmp_path / "run", lives.started(), lives.batch(1, 2.0, 50.0)), f"file://{tmp_path}/archive"
    import msgspec

    from esper_otel.sql.views.columns import Column

    table = TABLES["tolaria_batch_completed"]
    fewer = tuple(column for column in table.fields if column.name != "avg_accuracy")
    older = msgspec.structs.replace(table, fields=(*fewer, Column("forgotten", "DOUBLE", "")), event=None)
    with monkeypatch.context() as earlier:
        earlier.setitem(TABLES, older.name, older)
        archived(run, to)

    with connect(to) as connection:
        found = connection.execute("SELECT batch_idx, avg_reward, avg_accuracy FROM tolaria_batches").fetchall()

    assert [(1, 2.0, None)] == found


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket/a/b/", Address("s3://bucket/a/b")),
        ("s3:/bucket/a", Address("s3://bucket/a")),  # as pathlib writes it
        ("s3://bucket/a/run_id=one%2Ftwo", Address("s3://bucket/a", "one/two")),
        ("s3://bucket/a/run_id=*", Address("s3://bucket/a", is_every=True)),
        ("gs://bucket", Address("gs://bucket")),
        ("az://container/x", Address("az://container/x")),
        ("file:///data/archive", Address("file:///data/archive")),
        ("file:/data/archive/run_id=x", Address("file:///data/archive", "x")),
    ],
)
def test_an_address_is_an_archive_or_a_run_in_it(text: str, address: Address) -> None:
    assert address == address_of(text) == address_of(Path(text)) == address_of(str(address))


@pytest.mark.parametrize("text", ["telemetry/latest", "/s3/x", "s3", "http://host/x", "events.jsonl"])
def test_a_path_is_no_address(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    "text", ["s3://key:secret@bucket/x", "s3://bucket/x?sig=abc", "az://c/x?sv=1&sig=abc", "s3://"]
)
def test_an_address_with_a_secret_or_without_a_bucket_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"give") as refused:
        address_of(text)

    assert "secret" not in str(refused.value)
    assert "abc" not in str(refused.value)


def test_compact_names_what_is_wrong(tmp_path: Path) -> None:
    run = lives.append(tmp_path / "run", lives.started())

    assert "give one of them" in command("compact", run, "--to", TO, "-o", tmp_path / "x", status=2)
    assert "expected an address of an archive" in command("compact", run, "--to", "bucket/runs", status=2)
    assert "2 lines" in command("compact", lives.append(run, lives.batch(1, 1.0, 1.0)), "--to", f"file://{tmp_path}/a")
    assert "nothing new" in command("compact", run, "--to", f"file://{tmp_path}/a")


def test_doctor_tells_whether_the_archive_can_be_listed(
    s3: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(url: str) -> str:
        found = command("doctor", tmp_path, status=None, ESPER_OTEL_ARCHIVE=url)
        return next(" ".join(line.split()) for line in found.splitlines() if " archive " in line)

    assert f"ok archive {TO} can be listed and is empty" == told(TO)
    archived(lives.append(tmp_path / "run", lives.started()), TO)
    assert f"ok archive {TO} can be listed and holds runs" == told(TO)
    assert "BAD archive" in told("s3://no-such-bucket/x")
    assert "no credentials are given" in told("gs://bucket/x")
