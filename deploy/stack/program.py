"""A program of the stack, and the search for its executable."""

import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from deploy.stack.scraping import INTERVAL_S, Way

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".tools" / "bin"
HOST: Final = "127.0.0.1"


class StackError(Exception):
    """The stack cannot be started, or one of its programs ended; the message is for the user."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the stack.

    Attributes:
        telemetry_dir: directory of runs.
        data_dir: directory of the servers' data, configuration and logs.
        way: how the metrics of runs reach Prometheus.
        interval_s: seconds between two scrapes and between two evaluations; the waits of notifications follow it.
        executables: paths by program, instead of those on the PATH.
        without: programs that are not started even if they are there.
        standard_ports: whether each program's usual port is taken where it is free; otherwise any free one.
        webhook: URL that every notification goes to as well.
        grafana_home: Grafana's directory with its web pages, where it cannot be told from the executable's place.
    """

    telemetry_dir: Path
    data_dir: Path
    way: Way = Way.SCRAPE
    interval_s: float = INTERVAL_S
    executables: Mapping[str, str] = {}
    without: frozenset[str] = frozenset()
    standard_ports: bool = True
    webhook: str | None = None
    grafana_home: Path | None = None


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One server, ready to be started.

    Attributes:
        name: its name in the stack.
        command: executable and arguments.
        ready_url: answers 200 once the server can be used.
        shows: addresses for people, as lines for the console.
        files: configuration that is written first, by path.
        environment: variables beside those of the caller.
    """

    name: str
    command: tuple[str, ...]
    ready_url: str
    shows: tuple[str, ...] = ()
    files: Mapping[Path, str] = {}
    environment: Mapping[str, str] = {}


def executable(settings: Settings, name: str, *names: str) -> str | None:
    """Path of the program ``name``: the one asked for, else the first of ``names`` in ``.tools``, or on the PATH.

    Raises:
        StackError: one was asked for and cannot be run.
    """
    if name in settings.without:
        return None
    asked = settings.executables.get(name)
    if asked is not None:
        found = shutil.which(asked)
        if found is None:
            raise StackError(f"--{name} {asked}: there is no such program")
        return str(Path(found).absolute())
    unpacked = [str(place) for place in sorted(TOOLS.parent.glob(f"{name}*/bin"), reverse=True)]
    places = [str(TOOLS), *unpacked, str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    found = next(filter(None, (shutil.which(candidate, path=os.pathsep.join(places)) for candidate in names)), None)
    return found and str(Path(found).absolute())


class Ports:
    """Ports on the loopback interface, one for each purpose, none given twice."""

    def __init__(self, *, standard: bool) -> None:
        """``standard``: whether the usual port of a purpose is taken where it is free."""
        self._standard = standard
        self._given: set[int] = set()

    def take(self, usual: int) -> int:
        """A port that nothing listens on now: ``usual`` if that may be, else one of the system's choice."""
        wanted = [usual] if self._standard and usual not in self._given else []
        for candidate in (*wanted, *([0] * 10)):
            port = _free(candidate)
            if port is not None and port not in self._given:
                self._given.add(port)
                return port
        raise StackError(f"no port is free on {HOST}")


def _free(port: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])
