"""A power loss takes lines that a relay had counted and sent already, and the run goes on under its id."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.ledger import WHOLE, Figures, fault
from tests.faults.runs import delivered, ids_in, numbers_in, train, types_in
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, events_by_type, manifest, relay, samples, scrape
from tests.waiting import PATIENCE_S, wait_for

NAME = "power loss: the log lost lines that its relay had counted and sent"
HOLDS = (
    "every line that is in the log afterwards is counted and sent once; what was lost stays counted; no number is "
    "given again; said once, with figures"
)
STEPS = 40


def lose(log: Path, share: float, into_a_line: int = 40) -> None:
    """Cut a log after a ``share`` of it, so many bytes into a line."""
    content = log.read_bytes()
    border = content.rfind(b"\n", 0, int(len(content) * share)) + 1
    log.write_bytes(content[: border + into_a_line] if border else b"")


def go_on(directory: Path, steps: int, *options: str, **env: str) -> None:
    """Train again under the same run id."""
    with train(directory, *options, steps=steps, pause=0.0, **env) as again:
        again.finish()


def serve(run: Path, receiver: OtlpReceiver, ids: Counter[str]) -> tuple[str, str]:
    """Let a relay serve and send a run that is over; what it exposed when all ``ids`` had arrived, and said."""
    with relay(run, "--linger", "300", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as reading:
        url = announced_url(run, reading.pid)
        wait_for(lambda: {*delivered(receiver)} >= {*ids}, "the delivery")
        exposed = wait_for(lambda: "esper_events_total" in scrape(url) and scrape(url), "the counts")
        reading.send_signal(signal.SIGTERM)
        _, said = reading.communicate(timeout=PATIENCE_S)
    assert reading.returncode == 0, said
    return exposed, said


def serve_all(run: Path, receiver: OtlpReceiver, before: Counter[str]) -> tuple[str, str]:
    """As :func:`serve`, for what is in the log beside what had been sent ``before``."""
    return serve(run, receiver, before | Counter(ids_in(run)))


@pytest.mark.parametrize("more", [2, 36, 80] if WHOLE else [80], ids="then {} steps".format)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.0] if WHOLE else [0.9, 0.0], ids="{} of it is left".format)
@pytest.mark.parametrize(
    "segment", [20_000, 64 * 1024 * 1024] if WHOLE else [20_000], ids="segments of {} bytes".format
)
@fault(NAME, holds=HOLDS)
def test_what_is_in_the_log_afterwards_is_counted_and_sent_once(
    tmp_path: Path, figures: Figures, share: float, more: int, segment: int
) -> None:
    options = ("--segment", str(segment))
    go_on(tmp_path, STEPS, *options)
    run = tmp_path / "run"
    with OtlpReceiver() as receiver:
        serve_all(run, receiver, Counter())
        before, counted, numbers = delivered(receiver), types_in(run), numbers_in(run)
        lose(run / "events.jsonl", share)
        kept = types_in(run)
        left = numbers_in(run)
        go_on(tmp_path, more, *options)
        exposed, said = serve_all(run, receiver, before)

        assert before | Counter(ids_in(run)) == delivered(receiver)
        assert counted + (types_in(run) - kept) == events_by_type(exposed)
        assert [] == [number for number in numbers_in(run)[len(left) :] if number in numbers]
        lost = len(numbers) - len(left)
        assert 1 == said.count("lost lines, as after a power loss")
        assert f"{lost} events read before" in said or "all events read so far are gone" in said
        reasons = {
            dict(labels)["reason"]: count for (name, labels), count in samples(exposed).items() if "reject" in name
        }
        assert 1 == reasons["truncated"]
        figures.add(lost=lost)


@fault(NAME, holds=HOLDS)
def test_a_relay_that_goes_on_while_the_log_is_cut_and_continued_under_it_misses_nothing(
    tmp_path: Path, figures: Figures
) -> None:
    run = tmp_path / "run"
    with OtlpReceiver() as receiver, train(tmp_path, steps=100_000, pause=0.002) as first:
        with relay(run, "--follow", "--linger", "300", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as living:
            wait_for(lambda: len(receiver.logs) > 500, "the delivery of the first events")
            first.child.send_signal(signal.SIGSTOP)
            wait_for(lambda: {*ids_in(run)} == {*delivered(receiver)}, "the delivery of what is there")
            living.send_signal(signal.SIGSTOP)
            first.child.kill()
            first.child.wait()
            before, counted = delivered(receiver), types_in(run)
            lose(run / "events.jsonl", 0.8)
            kept = types_in(run)
            with train(tmp_path, steps=400, pause=0.0) as again:
                wait_for(lambda: len(ids_in(run)) > len(before), "a log that is longer than before")
                living.send_signal(signal.SIGCONT)
                again.finish()
                url = announced_url(run, living.pid)
                wait_for(lambda: {*delivered(receiver)} >= {*ids_in(run)}, "the delivery of the rest")
                expected = counted + (types_in(run) - kept)
                wait_for(lambda: events_by_type(scrape(url)) == expected, "the counts")
                living.send_signal(signal.SIGTERM)
                _, said = living.communicate(timeout=PATIENCE_S)

        assert before | Counter(ids_in(run)) == delivered(receiver)
        assert 1 == said.count("lost lines, as after a power loss")
        figures.add(lost=sum((counted - kept).values()))


@fault(NAME, holds=HOLDS)
def test_one_of_two_ranks_that_lost_lines_does_not_disturb_the_other(tmp_path: Path, figures: Figures) -> None:
    run = tmp_path / "run"
    ranks: list[dict[str, str]] = [{"RANK": rank, "WORLD_SIZE": "2"} for rank in ("0", "1")]
    for env in ranks:
        go_on(tmp_path, STEPS, **env)
    with OtlpReceiver() as receiver:
        serve(run, receiver, ids_of_ranks(run))
        before = delivered(receiver)
        lose(run / "events.rank1.jsonl", 0.7)
        for env in ranks:
            go_on(tmp_path, STEPS, **env)
        _, said = serve(run, receiver, before | ids_of_ranks(run))

        assert before | ids_of_ranks(run) == delivered(receiver)
        assert 1 == said.count("lost lines, as after a power loss") == said.count("events.rank1.jsonl lost lines")
        figures.add(lost=len(before - ids_of_ranks(run)))


def ids_of_ranks(run: Path) -> Counter[str]:
    """Event ids of both ranks; each log of one segment."""
    other = run / "other"
    other.mkdir(exist_ok=True)
    shutil.copy(run / "events.rank1.jsonl", other / "events.jsonl")
    return Counter([*ids_in(run), *ids_in(other)])


@pytest.mark.parametrize("behind", ["metrics", "logs"])
@fault(NAME, holds=HOLDS)
def test_counting_and_sending_find_their_places_each_for_itself(tmp_path: Path, figures: Figures, behind: str) -> None:
    go_on(tmp_path, STEPS)
    run = tmp_path / "run"
    log, early = run / "events.jsonl", tmp_path / "early"
    whole = log.read_bytes()
    with OtlpReceiver() as receiver:
        lose(log, 0.5, 0)
        serve_all(run, receiver, Counter())
        shutil.copy(run / "relay" / f"{behind}.json", early)
        log.write_bytes(whole)
        serve_all(run, receiver, Counter())
        before, counted = delivered(receiver), types_in(run)
        shutil.copy(early, run / "relay" / f"{behind}.json")
        lose(log, 0.75)
        kept = types_in(run)
        go_on(tmp_path, STEPS)
        exposed, said = serve_all(run, receiver, before)

        assert {*before | Counter(ids_in(run))} == {*delivered(receiver)}
        assert {1} == {*(delivered(receiver) - before).values()}
        stays = counted if behind == "logs" else kept
        assert stays + (types_in(run) - kept) == events_by_type(exposed)
        assert 1 == said.count("lost lines, as after a power loss")
        figures.add(lost=sum((counted - kept).values()))


@fault(NAME, holds=HOLDS)
def test_the_death_of_a_run_whose_last_lines_were_lost_is_told_under_a_number_of_its_own(
    tmp_path: Path, figures: Figures
) -> None:
    run = tmp_path / "run"
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with train(tmp_path, steps=100_000, pause=0.002) as trainer, relay(run, "--follow", **env) as victim:
            wait_for(lambda: (run / "relay" / "metrics.json").exists() and len(receiver.logs) > 500, "a checkpoint")
            trainer.child.kill()
            victim.kill()
        before, numbers = delivered(receiver), numbers_in(run)
        lose(run / "events.jsonl", 0.2)
        started = time.monotonic()
        with relay(run, "--follow", "--linger", "0", **env) as next_one:
            _, said = next_one.communicate(timeout=PATIENCE_S)
        figures.add(lost=len({*before} - {*ids_in(run)}), recovered_s=time.monotonic() - started)

        assert 0 == next_one.returncode, said
        assert "died" == manifest(run)["status"]
        assert numbers_in(run)[-1] not in numbers
        assert 1 == delivered(receiver)[ids_in(run)[-1]]
