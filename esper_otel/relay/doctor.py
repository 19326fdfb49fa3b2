"""What ``esper-otel doctor`` looks at: whatever has to work for a run of this environment to be seen."""

from __future__ import annotations

import platform
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log import manifest
from esper_otel.log.layout import Series
from esper_otel.log.lock import holder
from esper_otel.relay.endpoint import address_from_env
from esper_otel.relay.nvml_calls import Calls, DriverUnavailableError
from esper_otel.relay.options import resource_defaults
from esper_otel.relay.otlp import Exporters, resource_from_env

LOW_DISK_BYTES: Final = 1024**3
SCRAPE_TIMEOUT_S: Final = 5.0
EXTRAS: Final = {"torch": "trainer", "mcp": "mcp", "wandb": "wandb"}
LATEST: Final = "latest"
LOST: Final = "esper_log_lost_events_total"


class State(StrEnum):
    """How one thing stands."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "BAD"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; ``text`` says how it is and, where it is bad, what would be right."""

    what: str
    state: State
    text: str


def examine(telemetry_dir: Path) -> Iterator[Finding]:
    """Look at everything, one finding after the other; takes as long as the slowest endpoint takes to answer."""
    yield _versions()
    yield _directory(telemetry_dir)
    yield from _latest_run(telemetry_dir)
    yield _scrape_address()
    yield from _endpoints()
    yield _gpu()


def _versions() -> Finding:
    found = [f"esper-otel {version('esper-otel')}", f"Python {platform.python_version()}"]
    missing = []
    for package, extra in EXTRAS.items():
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(f"{package} (pip install 'esper-otel[{extra}]')")
    absent = f"; not installed: {', '.join(missing)}" if missing else ""
    return Finding("versions", State.GOOD, ", ".join(found) + absent)


def _directory(path: Path) -> Finding:
    what = "telemetry directory"
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        return Finding(what, State.BAD, f"{nearest} cannot be written ({error.strerror}); name another directory")
    gib = free / 1024**3
    if free < LOW_DISK_BYTES:
        return Finding(what, State.BAD, f"{path}: {gib:.1f} GiB free; a run of an hour may write 3")
    return Finding(what, State.GOOD, f"{path}: writable, {gib:.0f} GiB free")


def _latest_run(telemetry_dir: Path) -> Iterator[Finding]:
    run = telemetry_dir / LATEST
    if not run.exists():
        yield Finding("latest run", State.NOTE, f"none in {telemetry_dir}")
        return
    try:
        content = manifest.read(run)
    except ValueError as error:
        yield Finding("latest run", State.BAD, str(error))
        return
    name, status = content.get("run_id", run.resolve().name), content.get("status", "unknown")
    is_orphan = status == "running" and holder(Series(run, 0).lock_path) is None
    if is_orphan:
        text = f"{name} says it is running, but no process writes it: 'esper-otel relay {run} --follow' finds out"
        yield Finding("latest run", State.BAD, text)
        return
    is_bad = status in {"failed", "died"}
    yield Finding("latest run", State.BAD if is_bad else State.GOOD, f"{name}: {status}")
    if status == "running":
        yield _relay_of(content)


def _relay_of(content: dict[str, Any]) -> Finding:
    url = (content.get("relay") or {}).get("prometheus_url")
    if not url:
        return Finding("its relay", State.NOTE, "serves no metrics")
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_TIMEOUT_S) as answer:
            text = answer.read().decode("utf-8", "replace")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Finding(
            "its relay", State.BAD, f"{url} does not answer ({error}); start 'esper-otel relay RUN --follow'"
        )
    lost = sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(LOST))
    if lost:
        return Finding("its relay", State.BAD, f"{url}: {lost:g} events were lost, see {LOST} by reason")
    return Finding("its relay", State.GOOD, f"{url}: {len(text.splitlines())} lines, nothing lost")


def _scrape_address() -> Finding:
    what = "scrape endpoint"
    try:
        host, port = address_from_env()
        with socket.create_server((host, port)):
            pass
    except ValueError as error:
        return Finding(what, State.BAD, str(error))
    except OSError as error:
        return Finding(what, State.NOTE, f"{host}:{port}: {error.strerror}; a relay takes the next free port")
    return Finding(what, State.GOOD, f"{host}:{port} is free")


def _endpoints() -> Iterator[Finding]:
    exporters = Exporters.from_env(resource_from_env(resource_defaults("doctor")))
    for problem in exporters.problems:
        yield Finding("OTLP", State.BAD, problem)
    if not exporters.active and not exporters.problems:
        yield Finding("OTLP", State.NOTE, exporters.describe())
    for exporter in exporters.active:
        failure = exporter.probe()
        text = f"{exporter.endpoint}: {failure or 'takes requests'}"
        yield Finding(f"OTLP {exporter.signal}", State.BAD if failure else State.GOOD, text)
    exporters.stop()


def _gpu() -> Finding:
    calls = Calls(lambda _: None)
    try:
        calls.open()
    except DriverUnavailableError as error:
        return Finding("GPU", State.NOTE, f"no figures: {error}")
    try:
        return Finding("GPU", State.GOOD, f"driver {calls.ask('', 'nvmlSystemGetDriverVersion')}")
    finally:
        calls.close()
