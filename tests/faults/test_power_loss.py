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
from tests.faults.runs import ids_in, train
from tests.otlp_receiver import OtlpReceiver, attributes
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
    "power loss: the log is shorter than what the relay had read and stored, and the run goes on",
    holds="the relay notices the cut, counts it, and goes on; lines that came again under used numbers are not counted "
    "twice",
)
def test_a_relay_whose_log_lost_lines_that_it_had_read_goes_on(tmp_path: Path, figures: Figures) -> None:
    with train(tmp_path, steps=40, pause=0.0) as trainer:
        trainer.finish()
    run = trainer.run
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with relay(run, "--linger", "0", **env) as first:
            first.communicate(timeout=60)
        content = (run / "events.jsonl").read_bytes()
        (run / "events.jsonl").write_bytes(content[: len(content) * 9 // 10])
        with relay(run, "--linger", "0", **env) as second:
            _, errors = second.communicate(timeout=60)

        assert (0, 0) == (first.returncode, second.returncode), errors
        assert {*ids_in(run)} <= {str(name) for name in receiver_ids(receiver)}
        assert len(receiver_ids(receiver)) == len(set(receiver_ids(receiver)))
    figures.add()


def receiver_ids(receiver: OtlpReceiver) -> list[object]:
    return [attributes(record)["esper.event.id"] for record in receiver.logs]
