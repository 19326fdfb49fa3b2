"""Nothing is lost, nothing is there twice: half an upload, a busy or lost store, a wrong clock, two at once, kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from esper_otel.archive.address import address_of
from esper_otel.archive.layout import INDEX
from esper_otel.archive.store import ArchiveError, Store
from esper_otel.runs.places import run_of
from esper_otel.sql import connect
from esper_otel.sql.archiving.archiver import Archiver
from esper_otel.sql.archiving.whole import archive as archive_whole
from esper_otel.sql.connect import open_database
from tests.archive.object_store import BUCKET, SECRET, Proxy, Request, faulty
from tests.archive.rows import archived, command, rows_of
from tests.archive.test_archive_equals_log import recorded
from tests.runs import lives
from tests.tools import python_environment
from tests.waiting import wait_for

TO = f"s3://{BUCKET}/runs"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return recorded(tmp_path / "runs", updates=100)


def keys(folder: str = "") -> list[str]:
    return [item.key for item in Store(address_of(TO)).items(folder)]


def test_half_an_upload_is_not_read_and_is_done_again(s3: Proxy, run: Path) -> None:
    def half(request: Request) -> None:
        if request.method == "PUT" and "tolaria_batch_completed.000002" in request.path:
            request.cut()

    with faulty(s3, half), pytest.raises(ArchiveError, match="cannot be written"):
        archived(run, TO)
    with connect(TO) as connection:
        segments = connection.execute("SELECT DISTINCT segment FROM raw_events").fetchall()
        assert [(1,)] == segments
    assert any(".000002." in key for key in keys("run_id=mine"))  # others of the segment came before it

    archived(run, TO)

    assert rows_of(run) == rows_of(TO)


def test_a_store_that_asks_to_slow_down_is_asked_again(s3: Proxy, run: Path) -> None:
    refused: Counter[str] = Counter()

    def busy(request: Request) -> None:
        if request.method == "PUT" and refused[request.path] < 1 and sum(refused.values()) < 5:
            refused[request.path] += 1
            request.refuse(503, "SlowDown", "Please reduce your request rate.")

    with faulty(s3, busy):
        archived(run, TO)

    assert 5 == sum(refused.values())
    assert rows_of(run) == rows_of(TO)


def test_a_wrong_clock_is_named_and_leaves_nothing_behind(s3: Proxy, run: Path) -> None:
    def skewed(request: Request) -> None:
        request.refuse(
            403, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large."
        )

    with faulty(s3, skewed), pytest.raises(ArchiveError, match="the clock of this machine is wrong"):
        archived(run, TO)
    assert [] == keys()

    archived(run, TO)  # nothing depends on the time of this machine

    assert rows_of(run) == rows_of(TO)


def test_two_that_archive_one_run_at_once_make_one_archive_of_it(s3: Proxy, run: Path) -> None:
    threads = [threading.Thread(target=archive_whole, args=(run, address_of(TO))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert rows_of(run) == rows_of(TO)
    named = {
        stored
        for key in keys("_segments")
        for stored in Store(address_of(TO)).get(key).decode().split('"')
        if stored.endswith(".parquet")
    }
    assert named == {key.rpartition("/")[2] for key in keys("run_id=mine")}  # both made the same files


def test_an_older_archiver_that_comes_late_takes_nothing_away(s3: Proxy, tmp_path: Path) -> None:
    run = lives.append(tmp_path / "run", lives.started(), lives.batch(1, 1.0, 50.0))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with open_database(tmp_path / "database", "200MB") as database:
        late = Archiver(run_of(run), address_of(TO).of("run"), scratch, database)
        assert late.step(tail=True) is not None
        lives.append(run, lives.batch(2, 2.0, 60.0))
        archived(run, TO)
        lives.append(run, lives.batch(3, 3.0, 70.0))
        assert late.step(tail=True) is not None

    assert rows_of(run) == rows_of(TO)


@pytest.mark.parametrize("count", [1, 7, 12])
def test_an_archiver_that_is_killed_in_an_upload_is_resumed(s3: Proxy, run: Path, count: int) -> None:
    reached, killed = threading.Event(), threading.Event()

    def stuck(request: Request) -> None:
        if sum(method == "PUT" for method, _ in s3.requests) >= count:  # several come at once
            reached.set()
            killed.wait()
            request.cut()

    script = "import sys; from pathlib import Path; from esper_otel.sql.archiving.whole import archive;"
    script += "from esper_otel.archive.address import address_of; archive(Path(sys.argv[1]), address_of(sys.argv[2]))"
    s3.fault = stuck
    with subprocess.Popen([sys.executable, "-c", script, str(run), TO], env=python_environment()) as process:
        wait_for(reached.is_set, "the upload")
        process.send_signal(signal.SIGKILL)
    killed.set()
    s3.fault = lambda request: None

    archived(run, TO)

    assert rows_of(run) == rows_of(TO)


def test_a_file_that_is_damaged_is_named(s3: Proxy, run: Path) -> None:
    archived(run, TO)
    damaged = next(key for key in keys("run_id=mine") if "/raw.000001." in key)
    Store(address_of(TO)).put(damaged, b"PAR1 but not what was written PAR1")

    said = command("sql", TO, "SELECT count(*) FROM raw_events", status=2)

    assert damaged in said
    assert "is damaged" in said
    assert "100" in command("sql", TO, "SELECT count(*) FROM tamiyo_updates")


def test_a_directory_that_lacks_bytes_of_a_file_is_named(tmp_path: Path, run: Path) -> None:
    to = f"file://{tmp_path}/archive"
    archived(run, to)
    damaged = next((tmp_path / "archive").rglob("raw.000001.*"))
    damaged.write_bytes(damaged.read_bytes()[:-10])

    assert f"{damaged} is damaged" in command("sql", to, "SELECT count(*) FROM raw_events", status=2)


def test_descriptions_that_are_damaged_are_told_of_and_the_rest_is_read(s3: Proxy, run: Path) -> None:
    archived(run, TO)
    store, first = Store(address_of(TO)), min(keys("_segments/run_id=mine/rank=0"))
    store.put(first, b'{"format": 1, "run": "mine"}')

    said = command("sql", TO, "SELECT min(segment) FROM raw_events", "--format", "csv")

    assert f"{first} is no description of an archived segment" in said
    assert "\n2\n" in said


def test_a_description_leads_to_no_other_object(tmp_path: Path, run: Path) -> None:
    to = f"file://{tmp_path}/archive"
    archived(run, to)
    first = min((tmp_path / "archive" / "_segments").rglob("*-000001-*.json"))
    text = first.read_text()
    name = next(word for word in text.split('"') if word.startswith("raw."))
    first.write_text(text.replace(name, "../../../secret.parquet"))

    assert "which esper-otel never writes" in command("sql", to, "SELECT count(*) FROM raw_events")


def test_a_damaged_index_is_made_anew(s3: Proxy, tmp_path: Path) -> None:
    for number in range(25):
        archived(lives.append(tmp_path / f"r{number}", lives.started(), lives.batch(number + 1, 1.0, 50.0)), TO)
    query = "SELECT count(*) FROM raw_events"
    expected = command("sql", "--all-runs", TO, query)
    store = Store(address_of(TO))
    whole = store.get(INDEX)
    for content in (b"", b"not an index", whole[: len(whole) // 2]):
        store.put(INDEX, content)

        assert expected == command("sql", "--all-runs", TO, query)
        assert whole == store.get(INDEX)


def test_no_secret_is_shown_whatever_fails(s3: Proxy, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(request: Request) -> None:
        request.refuse(403, "SignatureDoesNotMatch", f"the key {SECRET} does not match")

    with faulty(s3, denied):
        said = command("compact", run, "--to", TO, status=2) + command("runs", TO, status=2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1")
    said += command("runs", TO, status=2)

    assert SECRET not in said
    assert "SignatureDoesNotMatch" in said
    assert "plain HTTP to another machine needs AWS_ALLOW_HTTP=true" in said


def test_nobody_is_asked_for_credentials_that_the_user_did_not_name(s3: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    for scheme, variable in (
        ("s3", "AWS_ACCESS_KEY_ID"),
        ("gs", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az", "AZURE_STORAGE_ACCOUNT_KEY"),
    ):
        said = command("runs", f"{scheme}://bucket/prefix", status=2)
        assert f"no credentials are given; set {variable}" in said
    assert [] == s3.requests


def test_another_run_of_the_same_name_is_refused_and_the_first_one_kept(s3: Proxy, tmp_path: Path) -> None:
    first = lives.append(tmp_path / "a" / "run", lives.started(), lives.batch(1, 1.0, 50.0))
    second = lives.append(
        tmp_path / "b" / "run", lives.started(lr=0.1), *(lives.batch(n, 2.0, 60.0) for n in range(1, 9))
    )
    archived(first, TO)

    said = command("compact", second, "--to", TO, status=2)

    assert "holds another run named run" in said
    assert rows_of(first) == rows_of(TO)


def test_a_run_is_listed_once_its_first_segment_is_whole(s3: Proxy, run: Path) -> None:
    def no_description(request: Request) -> None:
        if request.method == "PUT" and "_segments/" in request.path and "run.json" not in request.path:
            request.refuse(403, "AccessDenied")

    with faulty(s3, no_description), pytest.raises(ArchiveError):
        archived(run, TO)

    assert "holds no run" in command("runs", TO, status=2)
