"""A system without POSIX locks: the library is imported, training goes on, and one line says that nothing is recorded.

Windows itself is not at hand: a process is started from which what Windows lacks was taken away.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.tools import ROOT
from tests.waiting import PATIENCE_S

WITHOUT_POSIX = """
import os, signal, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
for name in ("fork", "register_at_fork", "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "sched_getaffinity", "getuid",
             "geteuid", "killpg", "setsid", "pread", "pwrite", "uname"):
    delattr(os, name)
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGCHLD", "pthread_sigmask"):
    delattr(signal, name)
"""


def run(directory: Path, code: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + WITHOUT_POSIX + code],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_configure_and_emit_say_in_one_line_that_nothing_is_recorded(tmp_path: Path):
    ended = run(
        tmp_path,
        "import esper_otel\n"
        "from esper_otel.events import PolicyUpdate\n"
        "print(esper_otel.configure().is_recording)\n"
        "for _ in range(3): esper_otel.emit(PolicyUpdate(policy_loss=0.5))\n"
        "print(esper_otel.shutdown())\n",
    )

    assert (ended.stdout, ended.returncode) == ("False\nFalse\n", 0)
    assert len(ended.stderr.splitlines()) == 1
    assert "nothing is recorded, and training goes on" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_autolog_leaves_a_training_loop_alone(tmp_path: Path):
    ended = run(
        tmp_path,
        "import esper_otel; esper_otel.autolog()\n"
        "layer = torch.nn.Linear(2, 1); optimizer = torch.optim.SGD(layer.parameters(), 0.1)\n"
        "layer(torch.ones(1, 2)).sum().backward(); optimizer.step(); print('trained')\n",
        before="import torch._dynamo\n",  # which needs on Linux what is taken away
    )

    assert (ended.stdout, ended.returncode) == ("trained\n", 0)
    assert "On Windows, use WSL 2" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_command_says_what_it_needs(tmp_path: Path):
    ended = run(tmp_path, "from esper_otel.cli.program import main\nsys.argv = ['esper-otel', 'sql', '.']\nmain()\n")

    assert (ended.stdout, ended.returncode) == ("", 2)
    assert ended.stderr.startswith("esper-otel: event logs need the file locks of Linux or macOS")
