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
from tests.faults.runs import train

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
    holds="only the cut line is gone; it and the zeros are counted; the run continues with a new line and number",
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

        *left, new = [item.seq for item in found if isinstance(item, Record)]
        assert whole == left
        assert new is not None
        assert new > max(json_lines(log))
        assert len([item for item in found if isinstance(item, BadLine)]) <= 1 + bool(tail)
        figures.add(lost=len(json_lines(log)) - len(whole))
        shutil.rmtree(run)


def json_lines(content: bytes) -> list[int]:
    """Sequence numbers of what is a whole JSON object, whether a newline or zeros end it."""
    found = []
    for line in content.replace(b"\0", b"\n").split(b"\n"):
        try:
            found.append(int(json.loads(line)["seq"]))
        except ValueError:
            continue
    return found
