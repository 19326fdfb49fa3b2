"""One training run of two processes: two logs, one relay, metrics told apart by rank, one trace for every round."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec
import pytest

from tests.otlp_receiver import OtlpReceiver, attributes, wait_for_events
from tests.relay.processes import announced_url, environment, manifest, samples, scrape
from tests.waiting import PATIENCE_S, wait_for

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
RECIPE = ("-m", "trainer", "--recipe", "smoke", "--rounds", "2", "--seed", "3")
LOGS = ("events.jsonl", "events.rank1.jsonl")


class TwoRanks(msgspec.Struct):
    """What the run left behind: its directory, what it printed, the lines of both logs, what was scraped and sent."""

    run: Path
    output: str
    lines: tuple[list[dict], list[dict]]
    scraped: str
    received: OtlpReceiver


def start(directory: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    """Start the run."""
    return subprocess.Popen(
        [*TORCHRUN, *RECIPE, "--telemetry-dir", str(directory), *options],
        env=environment(OMP_NUM_THREADS="1", **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_directory(directory: Path) -> Path:
    """Where the run writes, once it does."""
    return wait_for(lambda: next(directory.glob("*/run.json"), None), "the run's directory").parent.resolve()


def lines_of(log: Path) -> list[dict]:
    """Every whole line of one log."""
    return [msgspec.json.decode(line) for line in log.read_bytes().splitlines() if line.endswith(b"}")]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRanks]:
    directory = tmp_path_factory.mktemp("two_ranks")
    with OtlpReceiver() as receiver:
        torchrun = start(
            directory,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_METRIC_EXPORT_INTERVAL="1000",
            ESPER_OTEL_LINGER="300",
        )
        run = run_directory(directory)
        url = announced_url(run)
        output, _ = torchrun.communicate(timeout=PATIENCE_S)
        assert torchrun.returncode == 0, output
        lines = (lines_of(run / LOGS[0]), lines_of(run / LOGS[1]))
        wait_for_events(receiver, chain(*lines))
        ended = wait_for(lambda: (text := scrape(url)) and 'state="finished"} 1' in text and text, "the run's end")
        yield TwoRanks(run, output, lines, ended, receiver)
        os.kill(manifest(run)["relay"]["pid"], signal.SIGTERM)


def test_every_rank_has_its_log_and_says_so_in_every_line(two_ranks: TwoRanks) -> None:
    for rank, lines in enumerate(two_ranks.lines):
        assert {rank} == {line["rank"] for line in lines}
        assert list(range(1, len(lines) + 1)) == [line["seq"] for line in lines]
        (started,) = [line["data"] for line in lines if line["event_type"] == "TRAINING_STARTED"]
        assert (2, rank, rank) == (started["world_size"], started["rank"], started["local_rank"])
        assert ("RUN_ENDED", 2) == (lines[-1]["event_type"], lines[-1]["data"]["rounds"])


def test_ranks_play_different_environments_and_hold_one_policy(two_ranks: TwoRanks) -> None:
    envs = [{line["data"]["env_id"] for line in lines if "env_id" in line.get("data", {})} for lines in two_ranks.lines]
    norms = [
        [line["data"]["pre_clip_grad_norm"] for line in lines if line["event_type"] == "TAMIYO_POLICY_UPDATE"]
        for lines in two_ranks.lines
    ]

    assert [{0}, {1}] == envs
    assert norms[0] == norms[1] != []


def test_one_relay_follows_both_logs_and_tells_the_ranks_apart(two_ranks: TwoRanks) -> None:
    counted = defaultdict(Counter)
    for (name, labels), value in samples(two_ranks.scraped).items():
        if name == "esper_events_total":
            counted[dict(labels)["rank"]][dict(labels)["event_type"]] += int(value)

    for rank, lines in enumerate(two_ranks.lines):
        assert Counter(line["event_type"] for line in lines) == +counted[str(rank)]


def test_metrics_of_both_ranks_stand_side_by_side(two_ranks: TwoRanks) -> None:
    scraped = samples(two_ranks.scraped)
    for name in ("tamiyo_kl_divergence", "tolaria_val_accuracy", "tamiyo_pre_clip_grad_norm_count"):
        assert {"0", "1"} == {dict(labels)["rank"] for found, labels in scraped if found == name}


def test_every_round_is_one_trace_with_one_root_and_spans_of_both_ranks(two_ranks: TwoRanks) -> None:
    traces = defaultdict(list)
    for span in two_ranks.received.spans:
        traces[span.trace_id].append(span)
    rounds = {trace: spans for trace, spans in traces.items() if any(span.name == "simic.round" for span in spans)}

    assert 2 == len(rounds)
    for spans in rounds.values():
        assert ["simic.round"] == [span.name for span in spans if not span.parent_span_id]
        for name in ("tolaria.episode", "tolaria.epoch", "tamiyo.policy_update"):
            assert {0, 1} == {attributes(span)["esper.rank"] for span in spans if span.name == name}
        ids = {span.span_id for span in spans}
        assert all(span.parent_span_id in ids for span in spans if span.parent_span_id)


def test_the_log_events_of_both_ranks_name_the_same_traces(two_ranks: TwoRanks) -> None:
    traces = defaultdict(set)
    for log in two_ranks.received.logs:
        if attributes(log)["esper.event.type"] == "TOLARIA_BATCH_COMPLETED":
            traces[attributes(log)["esper.rank"]].add(log.trace_id)

    assert 2 == len(traces[0])
    assert traces[0] == traces[1]


def test_only_rank_0_prints(two_ranks: TwoRanks) -> None:
    assert 1 == two_ranks.output.count("weights sha256: ")
    assert 1 == two_ranks.output.count("\nmetrics: ")


def test_a_killed_rank_ends_the_run_and_both_logs_say_how(tmp_path: Path) -> None:
    with start(tmp_path, "--rounds", "999", ESPER_OTEL_LINGER="0") as torchrun:
        run = run_directory(tmp_path)
        logs = [run / name for name in LOGS]
        wait_for(lambda: all(log.exists() and "BATCH_COMPLETED" in log.read_text() for log in logs), "the first round")
        os.kill(pid_of_rank(torchrun.pid, 1), signal.SIGKILL)
        torchrun.communicate(timeout=PATIENCE_S)
        wait_for(lambda: manifest(run)["status"] == "died", "the end of the run")

    ends = [lines_of(log)[-1] for log in logs]
    assert torchrun.returncode != 0
    assert ["RUN_ENDED", "RUN_ENDED"] == [end["event_type"] for end in ends]
    assert ends[0]["data"]["outcome"] in {"failed", "interrupted"}
    assert ("died", "relay") == (ends[1]["data"]["outcome"], ends[1]["data"]["reported_by"])


def pid_of_rank(torchrun_pid: int, rank: int) -> int:
    """The process that torchrun started for ``rank``."""
    children = Path(f"/proc/{torchrun_pid}/task/{torchrun_pid}/children").read_text().split()
    wanted = f"RANK={rank}".encode()
    return next(int(pid) for pid in children if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
