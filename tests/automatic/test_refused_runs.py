"""A run that another process writes already: one line says so, and training goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from esper_otel.log.writer import Writer
from tests.automatic.program_runs import environment
from tests.waiting import PATIENCE_S

PROGRAM = """
import esper_otel
esper_otel.autolog(telemetry_dir=".", run_id="run")
import torch
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
print("trained")
"""


def test_a_second_process_under_the_same_name_trains_on_and_says_once_that_it_is_not_recorded(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run", "run", 0)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    writer.close()

    assert (ended.returncode, ended.stdout) == (0, "trained\n")
    assert ended.stderr.count("this process is not recorded: LockHeldError") == 1
