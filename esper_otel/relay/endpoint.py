"""The Prometheus endpoint: an address on the loopback interface, and where scrapers can find it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry

from esper_otel.log.layout import TARGETS_FILE
from esper_otel.log.manifest import replace_file
from esper_otel.log.opening import open_to_change, read_whole
from esper_otel.relay.scrape_server import ScrapeServer

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9464
PORTS_TRIED: Final = 100
MAX_TARGETS_BYTES: Final = 16 * 1024 * 1024


def address_from_env() -> tuple[str, int]:
    """Host and port of OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, or 127.0.0.1:9464.

    Raises:
        ValueError: the port is not a number from 0 to 65535.
    """
    host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or DEFAULT_HOST
    text = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or int(text) > 65_535:
        raise ValueError(f"OTEL_EXPORTER_PROMETHEUS_PORT={text!r}: expected a port from 0 to 65535")
    return host, int(text)


class Endpoint:
    """The HTTP server of one relay."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        """Serve ``registry`` on ``port``, or on the next free port above it; port 0 takes any.

        Raises:
            OSError: no port of those tried is free, or the host is not an address of this machine.
        """
        self._server = _serve(registry, host, port)
        self.host = host
        self.port = int(self._server.server_port)

    @property
    def url(self) -> str:
        """Where to scrape."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


def _serve(registry: CollectorRegistry, host: str, port: int) -> ScrapeServer:
    last_error: OSError | None = None
    for candidate in range(port, min(port + PORTS_TRIED, 65_536)) if port else (0,):
        try:
            return ScrapeServer(registry, host, candidate)
        except OSError as error:
            last_error = error
    raise OSError(
        f"no free port for the Prometheus endpoint on {host} from {port} on ({last_error}); "
        "set OTEL_EXPORTER_PROMETHEUS_PORT (0 takes any)"
    )


class Target(msgspec.Struct, frozen=True):
    """One entry of a file for Prometheus' ``file_sd_configs``."""

    targets: list[str]
    labels: dict[str, str]


def announce(directory: Path, target: Target) -> None:
    """List ``target`` in the directory's targets file, in place of an older entry of the same run.

    Raises:
        OSError: the file cannot be written.
    """
    _rewrite(directory, target.labels["instance"], target)


def withdraw(directory: Path, instance: str) -> None:
    """Take the run's entry out of the targets file again.

    Raises:
        OSError: the file cannot be written.
    """
    _rewrite(directory, instance, None)


def _rewrite(directory: Path, instance: str, target: Target | None) -> None:
    # The lock is on its own file because the targets file is replaced: relays of other runs write it as well.
    with os.fdopen(open_to_change(directory / f".{TARGETS_FILE}.lock", os.O_RDWR)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = directory / TARGETS_FILE
        kept = [entry for entry in _read(path) if entry.labels.get("instance") != instance]
        if target is not None:
            kept.append(target)
        replace_file(path, msgspec.json.format(msgspec.json.encode(kept), indent=2).decode() + "\n")


def _read(path: Path) -> list[Target]:
    try:
        return msgspec.json.decode(read_whole(path, MAX_TARGETS_BYTES), type=list[Target])
    except (OSError, msgspec.DecodeError, RecursionError):
        return []
