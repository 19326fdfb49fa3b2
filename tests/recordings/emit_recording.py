"""Emits the events of a recording through the public API: ``python emit_recording.py RECORDING TELEMETRY_DIR``.

The run that it leaves is called ``run``; under which names it is written is up to ESPER_OTEL_STABILITY_OPT_IN.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import esper_otel
from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.esper_lite.dialect.entropies import over_steps_with_a_choice
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from tests.tools import python_environment
from tests.waiting import PATIENCE_S


def emitted(recording: Path, directory: Path, mode: str = "domains") -> Path:
    """The directory of a run in which another process emitted the events of a recording."""
    command = [sys.executable, __file__, str(recording), str(directory)]
    env = python_environment(ESPER_OTEL_STABILITY_OPT_IN=mode)
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stderr) == (0, "")
    return directory / "run"


def main(recording: Path, telemetry_dir: Path) -> None:
    """Emit everything at its original time; the entropies of heads are those that our contract means."""
    esper_otel.configure(telemetry_dir=telemetry_dir, run_id="run", relay=False, heartbeat_s=0.0)
    with LogReader(recording) as reader:
        while batch := reader.read(500):
            for record in batch:
                assert isinstance(record, Record)
                for event in adapt(record).events:
                    ours = over_steps_with_a_choice(event)
                    esper_otel.emit(ours, group_id=record.group_id, timestamp_ns=record.timestamp_ns)
    esper_otel.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
