"""Starting the relay beside a training process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from esper_otel.log.layout import RELAY_DIRECTORY
from esper_otel.log.opening import refuse_link


def start_relay(run_dir: Path, linger_s: float) -> int:
    """Start ``python -m esper_otel.relay RUN --follow`` in a session of its own; its process id.

    It outlives the training process, hears none of its signals, and writes what it has to say to
    ``RUN/relay/relay.log``. ``posix_spawn`` rather than a fork: it copies no page tables of a large process, and runs
    none of its fork hooks. ``-P``: the directory that training runs in is no place to import from.

    Args:
        run_dir: the run to follow.
        linger_s: seconds that it stays scrapable after the run ended.

    Raises:
        OSError: it cannot be started, or its directory not be made.
    """
    if not sys.executable:
        raise OSError("the Python interpreter does not know its own path")
    directory = run_dir / RELAY_DIRECTORY
    refuse_link(directory)
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "esper_otel.relay", str(run_dir), "--follow"]
    command += ["--linger", f"{linger_s:g}", "--parent-pid", str(os.getpid())]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(directory / "relay.log"), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def exit_code(pid: int) -> int | None:
    """How the child ``pid`` ended, taking note of its end; None while it runs or when it is not ours to ask."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None
