"""Runs a command in a Kubernetes cluster that is there for as long: ``python -m scripts.cluster [COMMAND …]``.

Without a command it is a shell, with kubectl. As root on Debian.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from scripts.cluster import images
from scripts.cluster.node import CGROUPS
from scripts.cluster.places import CGROUP, LOGS, ROOT, STATE
from scripts.cluster.processes import LabError

# What becomes of them: --kill-child ends the first process of the namespaces, and with it all others and their mounts.
_NAMESPACES = ("unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")


def main() -> int:
    """Exit status of the command."""
    if missing := _missing():
        print(f"error: {missing}", file=sys.stderr)
        return 2
    # As after Ctrl-C, so that the lab is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command = sys.argv[1:] or [os.environ.get("SHELL", "/bin/sh")]
    try:
        subprocess.run(["sh", ROOT / "scripts" / "cluster" / "programs.sh"], check=True)
        images.build()
        clean()
        STATE.mkdir(parents=True)
        LOGS.mkdir(parents=True)
        inside = [sys.executable, "-m", "scripts.cluster.inside", *command]
        return subprocess.run([*_NAMESPACES, *inside], check=False, cwd=ROOT).returncode
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
    shutil.rmtree(STATE, ignore_errors=True)
    for controller in CGROUPS.iterdir():
        _remove_cgroup(controller / CGROUP)


def _remove_cgroup(top: Path) -> None:
    """Remove a cgroup and those in it; the processes of a killed lab may still be leaving it."""
    for _ in range(50):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        if not top.exists():
            return
        time.sleep(0.1)


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
