"""Runs a command in a Kubernetes cluster that is there for as long: ``python -m scripts.cluster [COMMAND …]``.

Without a command it is a shell, with kubectl. As root on Debian.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from scripts.cluster import images
from scripts.cluster.node import CGROUPS
from scripts.cluster.places import CGROUP, LOGS, ROOT, STATE
from scripts.cluster.processes import LabError

LOCK: Final = Path("/run/lock/esper-lab")

# --kill-child ends the first process of the namespaces, and with it all others and their mounts.
_NAMESPACES: Final = (
    "unshare",
    "--net",
    "--pid",
    "--mount",
    "--uts",
    "--ipc",
    "--fork",
    "--kill-child",
    "--mount-proc",
)


def main() -> int:
    """Exit status of the command."""
    if missing := _missing():
        print(f"error: {missing}", file=sys.stderr)
        return 2
    # As after Ctrl-C, so that the lab is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command = sys.argv[1:] or [os.environ.get("SHELL", "/bin/sh")]
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"error: another lab is up on this machine ({LOCK}): one at a time", file=sys.stderr)
            return 2
        return _run(command, lock.fileno())


def _run(command: list[str], lock: int) -> int:
    """Exit status of the command, with the lab brought up and taken down; the lab holds ``lock`` meanwhile."""
    try:
        subprocess.run(["sh", ROOT / "scripts" / "cluster" / "programs.sh"], check=True)
        images.build()
        clean()
        STATE.mkdir(parents=True)
        LOGS.mkdir(parents=True)
        inside = [sys.executable, "-m", "scripts.cluster.inside", *command]
        return subprocess.run([*_NAMESPACES, *inside], check=False, cwd=ROOT, pass_fds=[lock]).returncode
    except (LabError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        _remove_state()


def clean() -> None:
    """Remove what a lab left that was killed, and the last one's logs."""
    _remove_state()
    shutil.rmtree(LOGS, ignore_errors=True)


def _remove_state() -> None:
    """Remove files and cgroups; the processes of a lab that was killed may still be leaving them."""
    tops = [STATE, *(controller / CGROUP for controller in CGROUPS.iterdir())]
    for _ in range(100):
        shutil.rmtree(STATE, ignore_errors=True)
        for top in tops[1:]:
            _remove_cgroup(top)
        if not any(top.exists() for top in tops):
            return
        time.sleep(0.1)
    left = ", ".join(str(top) for top in tops if top.exists())
    print(f"error: the lab's {left} cannot be removed: look for processes that use it", file=sys.stderr)


def _remove_cgroup(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _missing() -> str | None:
    """Tells what this machine lacks."""
    if not Path("/etc/debian_version").exists():
        return "the lab is made of Debian's packages (apt-get install …): run it on Debian 12 or later"
    if os.geteuid() != 0:
        return "the lab makes namespaces, mounts and cgroups: run it as root"
    if not (CGROUPS / "memory").is_dir() and not (CGROUPS / "cgroup.controllers").exists():
        return f"there are no cgroups in {CGROUPS}: the kubelet needs the controllers cpu, cpuset, memory and pids"
    return None


if __name__ == "__main__":
    sys.exit(main())
