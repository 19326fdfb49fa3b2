"""Ends that real programs have: Ctrl-C in the middle of one, handlers of exit and of signals, several threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.runs import lines_of, runs_in, script, types_of

NO_RELAY = {"ESPER_OTEL_RELAY": "0"}


def ended_once(run: Path) -> tuple[str, int]:
    """Outcome of a run that ended once with all lines under numbers of their own, and its number of updates."""
    lines, types = lines_of(run), types_of(run)
    assert len(lines) == len({line["seq"] for line in lines})
    assert 1 == types["RUN_ENDED"]
    return lines[-1]["data"]["outcome"], types["TAMIYO_POLICY_UPDATE"]


@pytest.mark.parametrize("after_ms", [0, 1, 3, 10, 30])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_end_that_a_signal_breaks_off_is_completed_at_the_exit(tmp_path: Path, number: str, after_ms: int) -> None:
    body = f"""
import threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
run = esper_otel.configure(run_id="r")
def break_off():
    while run._end is None:
        time.sleep(1e-4)
    time.sleep({after_ms / 1e3})
    os.kill(os.getpid(), signal.{number})
for index in range(5000):
    esper_otel.emit(PolicyUpdate(ppo_update_idx=index))
threading.Thread(target=break_off).start()
esper_otel.shutdown()
"""
    script(tmp_path, body, **NO_RELAY)

    assert ("finished", 5000) == ended_once(tmp_path / "telemetry" / "r")


def test_an_end_that_was_broken_off_is_completed_before_the_next_run(tmp_path: Path) -> None:
    body = """
import _thread, threading
run = esper_otel.configure(run_id="r")
for index in range(5000):
    esper_otel.emit(PolicyUpdate(ppo_update_idx=index))
def break_off():
    while run._end is None:
        time.sleep(1e-4)
    _thread.interrupt_main()
threading.Thread(target=break_off).start()
try:
    esper_otel.shutdown("failed", "NaN")
except KeyboardInterrupt:
    print("broken off")
esper_otel.configure(run_id="r")
esper_otel.shutdown()
"""
    assert "broken off\n" == script(tmp_path, body, **NO_RELAY).stdout

    ends = [line["data"]["outcome"] for line in lines_of(tmp_path / "telemetry" / "r") if "outcome" in line["data"]]
    assert ["failed", "finished"] == ends
    assert 5000 == types_of(tmp_path / "telemetry" / "r")["TAMIYO_POLICY_UPDATE"]


@pytest.mark.parametrize("where", ["import", "configure"])
def test_a_handler_of_the_exit_may_emit_and_end_the_run(tmp_path: Path, where: str) -> None:
    register = "atexit.register(end)"
    body = f"""
import atexit
def end():
    esper_otel.emit(PolicyUpdate(ppo_update_idx=1))
    esper_otel.shutdown("finished")
{register if where == "import" else ""}
esper_otel.configure(run_id="r")
{register if where == "configure" else ""}
"""
    script(tmp_path, body, **NO_RELAY)

    assert ("finished", 1) == ended_once(tmp_path / "telemetry" / "r")


def test_one_of_several_threads_that_configure_has_the_run(tmp_path: Path) -> None:
    body = """
import threading
together, refused = threading.Barrier(8), []
def begin(number):
    together.wait()
    try:
        esper_otel.configure(run_id=f"r{number}")
    except RuntimeError as error:
        refused.append(str(error))
threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
esper_otel.emit(PolicyUpdate(ppo_update_idx=1))
esper_otel.shutdown()
print(len(refused), all("already configured" in text for text in refused))
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "7 True\n" == done.stdout, done.stderr
    assert [("finished", 1)] == [ended_once(tmp_path / "telemetry" / run) for run in runs_in(tmp_path)]


def test_a_child_that_is_forked_while_another_thread_configures_can_configure(tmp_path: Path) -> None:
    body = """
import threading
from esper_otel.runtime.telemetry import Process
held, done = threading.Event(), threading.Event()
def hold():
    with Process.turn:
        held.set(); done.wait()
threading.Thread(target=hold).start()
held.wait()
if os.fork():
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    done.set()
else:
    esper_otel.configure(run_id="child")
    esper_otel.emit(PolicyUpdate(ppo_update_idx=1))
    esper_otel.shutdown()
    os._exit(0)
"""
    done = script(tmp_path, body, **NO_RELAY)

    assert "0\n" == done.stdout, done.stderr
    assert ("finished", 1) == ended_once(tmp_path / "telemetry" / "child")


def test_a_program_that_goes_to_the_background_after_configure_is_told_what_it_loses(tmp_path: Path) -> None:
    body = """
from esper_otel.log.locks.processes import is_alive, process_start
esper_otel.configure(run_id="r")
reading, writing = os.pipe()
first = os.getpid()
if os.fork():
    os.read(reading, 1)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.write(writing, b"x")
while is_alive(first, process_start(first)):
    time.sleep(0.01)
esper_otel.emit(PolicyUpdate(ppo_update_idx=1))
esper_otel.configure(run_id="r")
esper_otel.emit(PolicyUpdate(ppo_update_idx=2))
esper_otel.shutdown()
"""
    done = script(tmp_path, body, **NO_RELAY)  # ends when the background process lets its standard error go

    assert "the process that recorded run r, from which it was forked, has ended" in done.stderr
    assert "its parent records" not in done.stderr
    assert ("finished", 1) == ended_once(tmp_path / "telemetry" / "r")


def test_a_configure_that_ctrl_c_breaks_off_leaves_no_run_behind_that_nobody_has(tmp_path: Path) -> None:
    body = """
import _thread, threading
from pathlib import Path
def break_off():
    while not Path("telemetry/r/run.json").exists():
        time.sleep(1e-4)
    _thread.interrupt_main()
threading.Thread(target=break_off).start()
try:
    esper_otel.configure(run_id="r")
    time.sleep(60)
except KeyboardInterrupt:
    esper_otel.shutdown("interrupted")
esper_otel.configure(run_id="r")
esper_otel.emit(PolicyUpdate(ppo_update_idx=1))
esper_otel.shutdown()
"""
    done = script(tmp_path, body)

    assert 0 == done.returncode, done.stderr
    ends = [line["data"]["outcome"] for line in lines_of(tmp_path / "telemetry" / "r") if "outcome" in line["data"]]
    assert ["interrupted", "finished"] == ends
