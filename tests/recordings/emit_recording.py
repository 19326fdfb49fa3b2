"""Emit the events of a recording through the public API: ``python emit_recording.py RECORDING TELEMETRY_DIR MEANING``.

The run is called ``run``; ESPER_OTEL_STABILITY_OPT_IN chooses the names under which it is written. MEANING is that of
the entropies of heads: ``contract`` for means over the steps with a choice, ``esper-lite`` for the recorded values.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import esper_otel
from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.esper_lite.dialect.entropies import over_steps_with_a_choice
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

Meaning = Literal["contract", "esper-lite"]


def emitted(recording: Path, directory: Path, mode: str = "domains", *, meaning: Meaning = "contract") -> Path:
    """The directory of a run in which another process emitted the events of a recording."""
    command = [sys.executable, __file__, str(recording), str(directory), meaning]
    env = python_environment(ESPER_OTEL_STABILITY_OPT_IN=mode)
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stderr) == (0, "")
    return directory / "run"


def main(recording: Path, telemetry_dir: Path, meaning: str) -> None:
    """Emit everything at its original time."""
    esper_otel.configure(telemetry_dir=telemetry_dir, run_id="run", relay=False, heartbeat_s=0.0)
    with LogReader(recording) as reader:
        while batch := reader.read(500):
            for record in batch:
                assert isinstance(record, Record)
                for event in adapt(record).events:
                    ours = over_steps_with_a_choice(event) if meaning == "contract" else event
                    esper_otel.emit(ours, group_id=record.group_id, timestamp_ns=record.timestamp_ns)
    esper_otel.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
