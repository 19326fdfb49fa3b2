"""Real training runs whose disk is full, read-only, slow, far away or gone."""

from __future__ import annotations

import errno
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.ledger import Figures, fault
from tests.faults.runs import (
    STEPS,
    Trainer,
    announced_url,
    delivered,
    ids_in,
    is_gone,
    numbers_in,
    relay_said,
    steps_in,
    told_losses,
    train,
    types_in,
    wait_delivered,
)
from tests.faults.shim import FaultyDisk
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import events_by_type, scrape
from tests.waiting import wait_for

Weights = Callable[..., str]
SLOWEST_STEP_S = 0.05
"""Five to seven events take 5 µs; the rest is room for a machine whose cores are all busy, s."""


def judge(trainer: Trainer, weights: Weights, said: str, *, lost: int = 0) -> None:
    """Every step is in the log or counted as lost, training was as ever, and the cause was said once."""
    result = trainer.finish()
    assert weights(STEPS) == result["weights"]
    assert result["slowest_s"] < SLOWEST_STEP_S
    assert 1 == trainer.said().count(said), trainer.said()
    assert result["counters"]["emitted"] == result["counters"]["written"] + lost
    assert list(range(1, len(numbers_in(trainer.run)) + 1)) == numbers_in(trainer.run)
    assert [] == [name for name in result["counters"] if name.startswith("dropped.") and not lost]


@fault(
    "disk full for a second (a real tmpfs of 3 MB, filled to the last byte)",
    holds="training is as ever; recording goes on in the middle of the line; the relay lives and delivers each line "
    "once; said once",
)
def test_a_disk_that_is_full_for_a_while_loses_nothing(
    mounted: Path, tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    ballast = mounted / "ballast"
    with (
        OtlpReceiver() as receiver,
        train(
            mounted,
            *("--relay", "--hold-at", "10", "--hold-at", "150"),
            pause=0.03,
            scratch=tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint,
        ) as trainer,
    ):
        announced_url(trainer.run)
        trainer.steps(10)
        fill(ballast)
        trainer.go_on(10)
        trainer.steps(60)
        wait_for(lambda: "the disk is full" in trainer.said(), "the message")
        time.sleep(1.0)
        before = steps_in(trainer.run)
        assert before < 70, "the disk was not full"
        ballast.unlink()
        healed = time.monotonic()
        wait_for(lambda: steps_in(trainer.run) > before, "the recording of what waited")
        figures.add(recovered_s=time.monotonic() - healed)
        trainer.go_on(150)
        judge(trainer, silent_weights, "the disk is full; free some space")
        assert STEPS == steps_in(trainer.run)
        wait_delivered(receiver, trainer.run)
        assert dict.fromkeys(ids_in(trainer.run), 1) == delivered(receiver)
        wait_for(lambda: is_gone(trainer.run), "the end of the relay")


def fill(ballast: Path) -> None:
    """Write until nothing more fits."""
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(2**22))


@fault(
    "disk full until after the end of the run",
    holds="training ends as ever and within seconds; what did not fit is counted in the process and said once",
)
def test_a_disk_that_stays_full_costs_only_what_does_not_fit_and_counts_it(
    mounted: Path, tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    with train(mounted, scratch=tmp_path) as trainer:
        trainer.steps(20)
        fill(mounted / "ballast")
        result = trainer.finish()
    lost = result["counters"]["dropped.write_failed"]

    assert silent_weights(STEPS) == result["weights"]
    assert result["shutdown_s"] < 4.0
    assert result["counters"]["emitted"] == result["counters"]["written"] + lost
    assert 1 == trainer.said().count("events are not in the log: the disk is full")
    assert 1 == trainer.said().count("Training continues")
    figures.add(lost=lost)


@fault(
    "file system read-only when the run begins, writable a second later (a real remount)",
    holds="nothing is lost: what was emitted meanwhile is written; said once",
)
def test_a_run_that_begins_on_a_read_only_file_system_is_recorded_once_it_is_writable(
    mounted: Path, tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    with train(mounted, scratch=tmp_path) as trainer:
        trainer.steps(60)
        subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
        healed = time.monotonic()
        wait_for((trainer.run / "events.jsonl").exists, "the log")
        figures.add(recovered_s=time.monotonic() - healed)
        judge(trainer, silent_weights, "the file system is read-only")
        assert STEPS == steps_in(trainer.run)


FAILING_WRITES = {
    "quota used up (EDQUOT, by a preloaded library: no quota can be set here)": (errno.EDQUOT, "the disk quota"),
    "file system made read-only under an open log (EROFS, by a preloaded library)": (errno.EROFS, "read-only"),
    "disk that answers with I/O errors (EIO, by a preloaded library)": (errno.EIO, "Input/output error"),
    "network file system whose handle went stale (ESTALE, by a preloaded library)": (errno.ESTALE, "Stale file"),
}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(
            *case,
            marks=fault(
                f"{name}, for a second", holds="nothing is lost, no line is torn; training is as ever; said once"
            ),
            id=errno.errorcode[case[0]],
        )
        for name, case in FAILING_WRITES.items()
    ],
)
def test_writes_that_fail_for_a_while_lose_nothing(
    tmp_path: Path, shim: Path, silent_weights: Weights, figures: Figures, error: int, said: str
) -> None:
    disk = FaultyDisk(shim, tmp_path / "orders")
    with train(tmp_path, **disk.env) as trainer:
        trainer.steps(20)
        disk.order(error=error)
        trainer.steps(60)
        wait_for(lambda: said in trainer.said(), "the message")
        disk.heal()
        before, healed = steps_in(trainer.run), time.monotonic()
        wait_for(lambda: steps_in(trainer.run) > before, "the recording of what waited")
        figures.add(recovered_s=time.monotonic() - healed)
        judge(trainer, silent_weights, said)
        assert STEPS == steps_in(trainer.run)


@fault(
    "slow disk: every write takes 100 ms (by a preloaded library)",
    holds="training is as ever, no step is held up; nothing is lost; the relay follows",
)
def test_a_disk_whose_writes_take_100_ms_holds_up_nothing(
    tmp_path: Path, shim: Path, silent_weights: Weights, figures: Figures
) -> None:
    disk = FaultyDisk(shim, tmp_path / "orders")
    disk.order(delay_s=0.1)
    with train(tmp_path, **disk.env) as trainer:
        result = trainer.finish()

    assert silent_weights(STEPS) == result["weights"]
    assert result["slowest_s"] < SLOWEST_STEP_S
    assert STEPS == steps_in(trainer.run)
    assert 0 == told_losses(trainer.run)
    figures.add(recovered_s=result["shutdown_s"])


@fault(
    "slow network file system: writes of at most 4 KiB take 20 ms, opening and renaming 200 ms, segments of 20 kB "
    "(by a preloaded library)",
    holds="training is as ever; no line is torn at a seam of segments; nothing is lost or counted twice",
)
def test_a_network_file_system_that_is_slow_at_everything_loses_nothing(
    tmp_path: Path, shim: Path, silent_weights: Weights, figures: Figures
) -> None:
    disk = FaultyDisk(shim, tmp_path / "orders")
    disk.order(delay_s=0.02, most_bytes=4096, meta_delay_s=0.2)
    with train(tmp_path, "--relay", "--linger", "300", "--segment", "20000", pause=0.02, **disk.env) as trainer:
        url = announced_url(trainer.run)
        result = trainer.finish()
        started = time.monotonic()
        wait_for(lambda: events_by_type(scrape(url)) == types_in(trainer.run), "the log's counts")
        figures.add(recovered_s=time.monotonic() - started)

    assert silent_weights(STEPS) == result["weights"]
    assert result["slowest_s"] < SLOWEST_STEP_S
    assert STEPS == steps_in(trainer.run)
    assert list(range(1, len(numbers_in(trainer.run)) + 1)) == numbers_in(trainer.run)
    assert len(list(trainer.run.glob("events.0*.jsonl"))) > 3


@fault(
    "run directory deleted while training and relay work in it",
    holds="it is made again; what was in the file is counted as lost in the new one; the relay, which had read it, "
    "delivers each event once and goes on",
)
def test_a_deleted_directory_is_made_again_and_what_was_read_before_is_delivered(
    tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    with (
        OtlpReceiver() as receiver,
        train(tmp_path, "--relay", pause=0.03, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as trainer,
    ):
        announced_url(trainer.run)
        trainer.steps(50)
        shutil.rmtree(trainer.run, ignore_errors=True)
        deleted = time.monotonic()
        wait_for((trainer.run / "events.jsonl").exists, "the new log")
        figures.add(recovered_s=time.monotonic() - deleted)
        result = trainer.finish()
        wait_for(lambda: ids_in(trainer.run)[-1] in delivered(receiver), "the delivery of the end")

        assert silent_weights(STEPS) == result["weights"]
        assert 1 == trainer.said().count("the log was removed while in use")
        assert result["counters"]["emitted"] - told_losses(trainer.run) == len(ids_in(trainer.run))
        assert {*ids_in(trainer.run)} <= {*delivered(receiver)}
        assert {1} == {*delivered(receiver).values()}
        assert len(delivered(receiver)) >= len(ids_in(trainer.run))
        figures.lost = result["counters"]["emitted"] - len(delivered(receiver))
    assert "Traceback" not in relay_said(trainer.run)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            error,
            marks=fault(
                f"reads that fail with {errno.errorcode[error]} for two seconds, in trainer and relay",
                holds="training is as ever; nothing is abandoned or counted twice; the lag says it; said once",
            ),
            id=errno.errorcode[error],
        )
        for error in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
    ],
)
def test_reads_that_fail_for_a_while_abandon_no_rank(
    tmp_path: Path, shim: Path, silent_weights: Weights, figures: Figures, error: int
) -> None:
    disk = FaultyDisk(shim, tmp_path / "orders")
    with train(tmp_path, "--relay", "--linger", "10", pause=0.02, **disk.env) as trainer:
        url = announced_url(trainer.run)
        trainer.steps(20)
        disk.order(read_error=error)
        wait_for(lambda: value(url, "esper_relay_read_errors_total") >= 3, "three failed reads")
        assert value(url, "esper_relay_unread_bytes") > 0
        wait_for(lambda: value(url, "esper_relay_lag_seconds") > 0, "a lag")
        disk.heal()
        healed = time.monotonic()
        wait_for(lambda: events_by_type(scrape(url)) == types_in(trainer.run), "the log's counts")
        figures.add(recovered_s=time.monotonic() - healed)
        assert silent_weights(STEPS) == trainer.finish()["weights"]
        assert 1 == relay_said(trainer.run).count("cannot be read ("), relay_said(trainer.run)


def value(url: str, name: str) -> float:
    """The value of a metric without attributes; 0 where it is not there yet."""
    lines = (line.split(" ") for line in scrape(url).splitlines())
    return next((float(words[1]) for words in lines if words[0] == name), 0.0)
