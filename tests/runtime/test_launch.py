"""The relay beside a run: how it is started, what it does not inherit, and who looks after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import esper_otel
from esper_otel.events import Decision
from esper_otel.runtime import watch
from esper_otel.runtime.interpreter import find_interpreter
from esper_otel.runtime.launch import _LAUNCHER
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import events_by_type, manifest, scrape
from tests.runtime.runs import environment, is_alive, kill, runs_in, script, types_of
from tests.waiting import PATIENCE_S, wait_for


@pytest.fixture(autouse=True)
def relays() -> Iterator[None]:
    yield
    esper_otel.shutdown()
    for relay in watch._earlier:
        kill(relay.pid)


def endpoint_of(run: Path, pid: int | None = None) -> str:
    """URL of the run's relay, of ``pid`` if given, once it serves."""

    def announced() -> str | None:
        relay = manifest(run).get("relay") or {}
        return relay.get("prometheus_url") if pid in {None, relay.get("pid")} else None

    return wait_for(announced, "the relay's endpoint")


def started(tmp_path: Path, **arguments: object) -> tuple[esper_otel.Telemetry, int]:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, relay=True, **{"linger_s": 0.0, **arguments})  # type: ignore[arg-type]
    assert telemetry.relay_pid is not None
    return telemetry, telemetry.relay_pid


def children() -> set[int]:
    """Processes whose parent is this one, zombies included."""
    return {int(pid) for tasks in Path("/proc/self/task").iterdir() for pid in (tasks / "children").read_text().split()}


def test_the_relay_is_nobodys_child_and_has_a_session_of_its_own(tmp_path: Path) -> None:
    telemetry, pid = started(tmp_path, linger_s=2.5)
    command = Path(f"/proc/{pid}/cmdline")
    words = wait_for(
        lambda: found if (found := command.read_text().split("\0")[1:-1])[:1] == ["-P"] else None, "the relay itself"
    )

    expected = ["-P", "-m", "esper_otel.relay", str(telemetry.run_dir), "--follow"]
    assert [*expected, "--linger", "2.5", "--parent-pid", str(os.getpid())] == words
    assert pid == os.getsid(pid)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert os.getpid() != int(fields[1])


def test_the_relay_inherits_neither_descriptors_nor_blocked_or_ignored_signals(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    lock = os.open(tmp_path / "job.lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(lock, True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        telemetry, pid = started(tmp_path)
        endpoint_of(telemetry.run_dir)
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        names = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGHUP, ignored)
        for fd in (reading, writing, lock):
            os.close(fd)

    assert 0 == int(status["SigBlk"], 16)
    assert not int(status["SigIgn"], 16) & 1 << (signal.SIGHUP - 1)
    assert not [name for name in names if "job.lock" in name or name.startswith("pipe:")]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_process_without_standard_descriptors_has_a_relay(tmp_path: Path, closed: str) -> None:
    body = "telemetry = esper_otel.configure(run_id='r'); esper_otel.emit(Decision(env_id=1)); time.sleep(0.2)"
    (tmp_path / "train.py").write_text(f"import esper_otel, time\nfrom esper_otel.events import Decision\n{body}\n")
    command = f"exec {sys.executable} {tmp_path / 'train.py'} {closed}"
    subprocess.run(
        ["sh", "-c", command], env=environment(tmp_path, ESPER_OTEL_LINGER="5"), timeout=PATIENCE_S, check=True
    )

    url = endpoint_of(tmp_path / "telemetry" / "r")
    assert {"TAMIYO_DECISION": 1, "RUN_ENDED": 1} == types_of(tmp_path / "telemetry" / "r")
    wait_for(lambda: events_by_type(scrape(url))["RUN_ENDED"] == 1, "the end of the run in a scrape")
    kill(manifest(tmp_path / "telemetry" / "r")["relay"]["pid"])


def test_training_that_waits_for_all_its_children_does_not_wait_for_the_relay(tmp_path: Path) -> None:
    body = """
esper_otel.configure(run_id="r")
for _ in range(2):
    if os.fork() == 0:
        os._exit(0)
count = 0
try:
    while True:
        os.wait(); count += 1
except ChildProcessError:
    print(count)
esper_otel.shutdown()
"""
    done = script(tmp_path, body)

    assert "2\n" == done.stdout, done.stderr


def test_a_relay_starts_although_its_trainer_was_killed_meanwhile(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as when the process that waits for the relay's number is gone
    mark = tmp_path / "started"
    command = ["/bin/sh", "-c", f"echo > {mark}"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)

    assert (0, "") == (done.returncode, done.stderr)
    wait_for(mark.exists, "the start")


def test_an_application_that_is_its_own_interpreter_is_not_started_again(tmp_path: Path) -> None:
    application = tmp_path / "app"
    application.write_text(f"#!/bin/sh\necho >> {tmp_path}/starts\nexec {sys.executable} {tmp_path}/main.py\n")
    application.chmod(0o755)
    (tmp_path / "main.py").write_text(f"""
import sys
sys.executable = {str(application)!r}
import esper_otel, time
telemetry = esper_otel.configure(run_id="r", linger_s=0)
deadline = time.monotonic() + 60
while '"prometheus_url"' not in (telemetry.run_dir / "run.json").read_text() and time.monotonic() < deadline:
    time.sleep(0.05)
esper_otel.shutdown()
""")
    subprocess.run([application], env=environment(tmp_path), timeout=PATIENCE_S, check=True)

    assert 1 == (tmp_path / "starts").read_text().count("\n")
    assert ["r"] == runs_in(tmp_path)
    assert "prometheus_url" in manifest(tmp_path / "telemetry" / "r")["relay"]


def test_an_application_that_is_started_in_place_of_a_relay_starts_none(tmp_path: Path) -> None:
    """One that calls itself python, so that nothing tells it from an interpreter."""
    application = tmp_path / "python3"
    application.write_text(f"#!/bin/sh\necho >> {tmp_path}/starts\nexec {sys.executable} {tmp_path}/main.py\n")
    application.chmod(0o755)
    (tmp_path / "main.py").write_text(f"""
import sys
sys.executable = {str(application)!r}
import esper_otel
print(esper_otel.configure(linger_s=0).relay_pid)
esper_otel.shutdown()
""")
    subprocess.run([application], env=environment(tmp_path), timeout=PATIENCE_S, check=True)

    assert 2 >= (tmp_path / "starts").read_text().count("\n")


def test_without_an_interpreter_training_is_recorded_and_this_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("prefix", "exec_prefix", "base_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/sim/kit")
    monkeypatch.setattr(sys, "_base_executable", "/opt/sim/kit", raising=False)
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, run_id="r", relay=True)
    esper_otel.emit(Decision(env_id=1))
    esper_otel.shutdown()

    assert telemetry.relay_pid is None
    assert "/opt/sim/kit is not a Python interpreter" in capfd.readouterr().err
    assert 2 == telemetry.counters["written"]


def test_an_embedded_interpreter_is_found_beside_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/sim/kit")

    assert find_interpreter().parent == Path(sys.prefix) / "bin"


def test_a_manifest_that_a_cleaner_removed_is_made_again_by_trainer_and_relay(tmp_path: Path) -> None:
    telemetry, pid = started(tmp_path)
    url = endpoint_of(telemetry.run_dir, pid)
    (telemetry.run_dir / "run.json").unlink()

    assert url == endpoint_of(telemetry.run_dir, pid)
    assert os.getpid() == manifest(telemetry.run_dir)["pid"]


@pytest.mark.parametrize("how", ["on the path", "beside a bad PYTHONPATH"])
def test_the_relay_finds_its_packages_where_training_has_them(tmp_path: Path, how: str) -> None:
    """Without an installation: the program itself has put their directories on its path."""
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "typer.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "train.py").write_text(f"""
import sys
sys.path[:0] = {[str(Path(esper_otel.__file__).parents[1]), *packages]!r}
import esper_otel, time
run = esper_otel.configure(run_id="r").run_dir
deadline = time.monotonic() + {PATIENCE_S}
while "prometheus_url" not in (run / "run.json").read_text() and time.monotonic() < deadline:
    time.sleep(0.05)
esper_otel.shutdown()
""")
    options, path = (["-I"], str(tmp_path / "bad")) if how != "on the path" else ([], "")
    done = subprocess.run(
        [getattr(sys, "_base_executable"), *options, str(tmp_path / "train.py")],  # noqa: B009 - mypy does not know it
        env=environment(tmp_path, PYTHONPATH=path), timeout=PATIENCE_S, capture_output=True, text=True,
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)


def test_a_relay_that_is_killed_is_started_again_while_training_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry, first = started(tmp_path)
    endpoint_of(telemetry.run_dir, first)
    os.kill(first, signal.SIGKILL)
    second = wait_for(lambda: telemetry.relay_pid if telemetry.relay_pid != first else None, "another relay")
    esper_otel.emit(Decision(env_id=1))

    url = endpoint_of(telemetry.run_dir, second)
    wait_for(lambda: events_by_type(scrape(url))["TAMIYO_DECISION"] == 1, "the event in a scrape")
    assert f"the relay (process {first}) ended before the run did" in capfd.readouterr().err


def test_a_relay_that_somebody_stopped_stays_away(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    telemetry, pid = started(tmp_path)
    endpoint_of(telemetry.run_dir)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_alive(pid), "the end of the relay")
    said = wait_for(lambda: capfd.readouterr().err, "the report")

    assert "It is not started again" in said
    time.sleep(2 * watch.LOOK_EVERY_S)
    assert telemetry.relay_pid is None


def test_a_relay_that_ends_at_once_is_started_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = tmp_path / "python3"
    failing.write_text(
        '#!/bin/sh\ncase "$*" in *-S*) exec '
        + sys.executable
        + ' "$@";; esac\necho x >> '
        + f"{tmp_path}/starts\nexit 1\n"
    )
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    started(tmp_path)
    starts = tmp_path / "starts"
    wait_for(lambda: starts.exists() and starts.read_text().count("x") == 3, "the third start")
    reached = time.monotonic()
    wait_for(lambda: starts.read_text().count("x") == 4, "the fourth start")

    assert time.monotonic() - reached > 0.8 * watch.BACK_OFF_S[2]
    assert "It is started again" in capfd.readouterr().err


def test_a_relay_that_ended_is_reported_at_the_end_of_a_short_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 60.0)
    _, pid = started(tmp_path)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), "the end of the relay")
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.1)
    esper_otel.shutdown()

    assert f"the relay (process {pid}) ended before the run did" in capfd.readouterr().err


def test_a_variable_that_would_end_the_relay_is_reported_and_the_run_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "soon")
    telemetry, _ = started(tmp_path)

    assert "OTEL_METRIC_EXPORT_INTERVAL='soon' must be a number of milliseconds" in capfd.readouterr().err
    assert scrape(endpoint_of(telemetry.run_dir))


def test_a_sweep_leaves_neither_zombies_nor_a_pile_of_lingering_relays(tmp_path: Path) -> None:
    pids, before = [], children()
    for number in range(6):
        telemetry, pid = started(tmp_path, run_id=f"trial{number}", linger_s=600.0)
        pids.append(pid)
        esper_otel.emit(Decision(env_id=number))
        endpoint_of(telemetry.run_dir)
        esper_otel.shutdown()

    allowed = 1 + watch.KEPT_LINGERING
    wait_for(lambda: sum(map(is_alive, pids)) <= allowed, "the end of older relays")
    assert all(map(is_alive, pids[-allowed:]))
    assert children() == before


def test_the_end_of_a_run_waits_for_delivery_when_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint)
        started(tmp_path, run_id="r", linger_s=600.0)
        for number in range(100):
            esper_otel.emit(Decision(env_id=number))
        began = time.monotonic()
        assert esper_otel.shutdown(wait_s=60)
        assert time.monotonic() - began < 60
        assert 101 == len(receiver.logs)


def test_the_end_of_a_run_does_not_wait_longer_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    started(tmp_path)
    began = time.monotonic()
    assert not esper_otel.shutdown(wait_s=1.0)

    assert 1.0 <= time.monotonic() - began < 10


def test_a_run_without_a_relay_is_not_waited_for(tmp_path: Path) -> None:
    esper_otel.configure(telemetry_dir=tmp_path, relay=False)
    began = time.monotonic()
    assert not esper_otel.shutdown(wait_s=60)

    assert time.monotonic() - began < 30
