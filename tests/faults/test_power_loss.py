"""Logs that end as after a power loss: cut at every byte of their last lines, or with zeros where those were."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from esper_otel.events import Decision
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader
from esper_otel.log.writer import Writer
from tests.faults.ledger import WHOLE, Figures, fault
from tests.faults.runs import delivered, ids_in, train
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import relay

LINES = 3 if WHOLE else 1
"""How many of the last lines are cut at every byte."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The log of a real run."""
    with train(tmp_path_factory.mktemp("whole"), steps=40, pause=0.0) as trainer:
        trainer.finish()
    content: bytes = (trainer.run / "events.jsonl").read_bytes()
    return content


@pytest.mark.parametrize("tail", [pytest.param(b"", id="cut"), pytest.param(b"\x00" * 300, id="zeros")])
@fault(
    "power loss: the log cut at every byte of its last lines, with and without zeros behind the cut, then continued",
    holds="only the line that was cut is gone and is counted; the run goes on in a line and with a number of its own",
)
def test_a_log_cut_at_any_byte_is_read_and_continued(tmp_path: Path, log: bytes, tail: bytes, figures: Figures) -> None:
    last = b"".join(log.splitlines(keepends=True)[-LINES:])
    for cut in range(len(log) - len(last), len(log) + 1):
        run = tmp_path / "run"
        run.mkdir()
        (run / "events.jsonl").write_bytes(log[:cut] + tail)
        whole = json_lines(log[:cut] + tail)
        writer = Writer(run, "run", heartbeat_s=0)
        writer.put((Decision(env_id=1), time.time_ns(), "default", None, None))
        writer.close()
        with LogReader(run) as reader:
            found = reader.read(1_000_000)

        assert [*whole, max(whole) + 1] == [item.seq for item in found if isinstance(item, Record)]
        assert len([item for item in found if isinstance(item, BadLine)]) <= 1
        figures.add(lost=len(json_lines(log)) - len(whole))
        shutil.rmtree(run)


def json_lines(content: bytes) -> list[int]:
    """Sequence numbers of what is a whole JSON object, its newline or not."""
    found = []
    for line in content.split(b"\n"):
        try:
            found.append(int(json.loads(line)["seq"]))
        except ValueError:
            continue
    return found


@fault(
    "power loss: the log lost lines that its relay had counted, and the same run id goes on (a limit)",
    holds="NOT all: as many new events as were lost, and the one at the old position, are in the log but not "
    "delivered; a relay with --from-start delivers all of them",
)
def test_events_where_lost_lines_had_been_counted_are_passed_over_until_a_relay_starts_anew(
    tmp_path: Path, figures: Figures
) -> None:
    with train(tmp_path, steps=40, pause=0.0) as trainer:
        trainer.finish()
    run = trainer.run
    log = run / "events.jsonl"
    with OtlpReceiver() as receiver:
        relayed(run, receiver)
        counted = len(ids_in(run))
        assert counted == len(receiver.logs)
        log.write_bytes(log.read_bytes()[: log.stat().st_size * 9 // 10])
        kept = len(ids_in(run))
        with train(tmp_path, steps=40, pause=0.0) as again:
            again.finish()
        relayed(run, receiver)
        lost = len(ids_in(run)) - kept - (len(receiver.logs) - counted)
        assert counted - kept <= lost <= counted - kept + 1
        figures.add(lost=lost)
    with OtlpReceiver() as receiver:
        relayed(run, receiver, "--from-start")
        assert dict.fromkeys(ids_in(run), 1) == delivered(receiver)


def relayed(run: Path, receiver: OtlpReceiver, *options: str) -> None:
    """Let a relay read the log to its end."""
    with relay(run, "--linger", "0", *options, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as reading:
        _, errors = reading.communicate(timeout=60)
    assert reading.returncode == 0, errors
