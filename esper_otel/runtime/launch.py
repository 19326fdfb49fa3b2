"""Starting the relay beside a training process."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.layout import relay_directory
from esper_otel.log.locks.processes import is_alive, process_start
from esper_otel.log.opening import open_to_change, refuse_link
from esper_otel.log.posix import fcntl
from esper_otel.runtime.interpreter import find_interpreter, interpreter_environment
from esper_otel.text.extras import first_missing, missing

RELAY_PACKAGES: Final = ("opentelemetry", "prometheus_client", "requests", "typer")
"""Packages of the extra 'relay' that this process can check without importing them."""

RELAY_LOG: Final = "relay.log"
MARK: Final = "ESPER_OTEL_RELAY_OF"
"""Variable in a relay's environment: the process that it was started for. Where it is set, no relay is started."""

END_LINGERING: Final = getattr(signal, "SIGUSR1", signal.SIGTERM)
"""Signal by which a relay whose run is over and delivered ends at once; it is blocked until the relay handles it."""

START_WITHIN_S: Final = 5.0
"""Longest wait for the process id of a relay; 20 ms are usual."""

_FIRST_FREE: Final = 3

# Runs in an interpreter of its own for a moment: with a parent that is gone, the relay is nobody's child, and training
# that waits for all of its children does not wait for the relay.
_LAUNCHER: Final = f"""\
import os, signal, sys
try:
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= {_FIRST_FREE}:
            os.closerange(int(name), int(name) + 1)
except OSError:
    os.closerange({_FIRST_FREE}, 65536)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.{END_LINGERING.name}])
pid = os.fork()
if pid:
    try:
        os.write(1, b"%d\\n" % pid)
    except OSError:
        pass  # the training process is gone; the relay starts, finds it dead and says so
    os._exit(0)
os.setsid()
os.dup2(2, 1)
os.execv(sys.argv[1], sys.argv[1:])
"""


class RelayProcess(msgspec.Struct, frozen=True):
    """A started relay; ``started`` is its start time in clock ticks since boot."""

    pid: int
    started: int

    def is_alive(self) -> bool:
        """Return True if it is still running."""
        return is_alive(self.pid, self.started)

    def end_lingering(self) -> None:
        """Let it end once it has delivered everything; no effect if it is gone."""
        if self.is_alive():
            with suppress(OSError):
                os.kill(self.pid, END_LINGERING)


def start_relay(run_dir: Path, linger_s: float, environment: dict[str, str], *, of_node: bool = False) -> RelayProcess:
    """Start ``python -m esper_otel.relay RUN --follow`` in a new session.

    It outlives the training process and is not its child. It has no descriptor of it, none of its blocked signals, and
    reports to ``RUN/relay/relay.log``. ``posix_spawn`` rather than a fork: it copies no page tables of a large process,
    and runs none of its fork hooks. ``-P``: the directory that training runs in is no place to import from.

    Args:
        run_dir: the run to follow.
        linger_s: seconds that it stays scrapable after the run ended.
        environment: its variables.
        of_node: whether each node of the run has a relay, so that it follows the ranks of this node alone.

    Raises:
        OSError: it cannot be started, a package that it needs is not installed, or its directory not be made.
    """
    if package := first_missing(RELAY_PACKAGES):
        raise OSError(missing(package, "relay"))
    directory = run_dir / relay_directory(of_node=of_node)
    refuse_link(directory)
    directory.mkdir(parents=True, exist_ok=True)
    interpreter = find_interpreter()
    command = [str(interpreter), "-P", "-m", "esper_otel.relay", str(run_dir), "--follow"]
    command += ["--linger", f"{linger_s:g}", "--parent-pid", str(os.getpid())]
    command += ["--of-node"] if of_node else []
    variables = interpreter_environment(interpreter, environment, ("esper_otel", *RELAY_PACKAGES))
    variables[MARK] = str(os.getpid())
    log = _above_standard(open_to_change(directory / RELAY_LOG, os.O_WRONLY | os.O_APPEND))
    try:
        pid = _launch(interpreter, command, variables, log)
    finally:
        os.close(log)
    return RelayProcess(pid, process_start(pid))


def _launch(interpreter: Path, command: list[str], variables: dict[str, str], log: int) -> int:
    reading, writing = (_above_standard(fd) for fd in os.pipe())
    try:
        launcher = os.posix_spawn(
            interpreter,
            [str(interpreter), "-I", "-S", "-c", _LAUNCHER, *command],
            variables,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
        os.close(writing)
        writing = -1
        said = _read_line(reading)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    _reap(launcher)
    if not said.isdigit():
        raise OSError(f"{interpreter} gave no process id within {START_WITHIN_S:g} s")
    return int(said)


def _above_standard(fd: int) -> int:
    """``fd`` under a number above those of standard input, output and error, which a program may run without."""
    if fd >= _FIRST_FREE:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    finally:
        os.close(fd)


def _read_line(fd: int) -> bytes:
    deadline = time.monotonic() + START_WITHIN_S
    said = b""
    poll = select.poll()  # select() takes no descriptors from 1024 on
    poll.register(fd, select.POLLIN)
    while not said.endswith(b"\n") and poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
        part = os.read(fd, 64)
        if not part:
            break
        said += part
    return said.strip()


def _reap(launcher: int) -> None:
    """Reap the launcher, unless a handler that waits for any child did."""
    deadline = time.monotonic() + 1.0
    with suppress(OSError):
        while os.waitpid(launcher, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
