"""The checks of ``esper-otel doctor``: disk, latest run, relay, ports, OTLP endpoints, archive and GPU."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from esper_otel import native
from esper_otel.archive.address import address_of
from esper_otel.archive.layout import SEGMENTS
from esper_otel.archive.store import Store
from esper_otel.doctor.relay import RelayAddressError, metrics_of
from esper_otel.log import manifest
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import is_free
from esper_otel.relay.archive.setup import VARIABLE as ARCHIVE
from esper_otel.relay.archive.setup import archive_url
from esper_otel.relay.gpu.calls import Calls, DriverUnavailableError
from esper_otel.relay.metrics.summary import metrics_option
from esper_otel.relay.options import SUMMARY, resource_defaults
from esper_otel.relay.otlp.exporters import Exporters, resource_from_env
from esper_otel.relay.otlp.log_choice import log_options
from esper_otel.relay.prometheus.endpoint import address_from_env
from esper_otel.text.extras import install
from esper_otel.text.redaction import redacted_url

LOW_DISK_BYTES: Final = 1024**3
MAX_SHOWN: Final = 200
EXTRAS: Final = {"torch": "trainer", "mcp": "mcp", "wandb": "wandb"}
LATEST: Final = "latest"
LOST: Final = "esper_log_lost_events_total"


class State(StrEnum):
    """Verdict of one check."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "BAD"


class Finding(msgspec.Struct, frozen=True):
    """Result of one check; ``text`` describes the state and, if it is bad, how to fix it."""

    what: str
    state: State
    text: str


def examine(telemetry_dir: Path) -> Iterator[Finding]:
    """Run all checks and yield their results; the slowest endpoint determines the duration."""
    yield _versions()
    yield _recording()
    yield _directory(telemetry_dir)
    yield from _latest_run(telemetry_dir)
    yield _scrape_address(telemetry_dir / LATEST)
    yield from _endpoints()
    yield from _metrics()
    yield from _log_events()
    yield from _archive()
    yield _gpu()


def _versions() -> Finding:
    found = [f"esper-otel {version('esper-otel')}", f"Python {platform.python_version()}"]
    missing = []
    for package, extra in EXTRAS.items():
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(f"{package} ({install(extra)})")
    absent = f"; not installed: {', '.join(missing)}" if missing else ""
    return Finding("versions", State.GOOD, ", ".join(found) + absent)


def _recording() -> Finding:
    state = native.state()
    text = state if state == "native" else f"{state}; an event takes several times as long in training"
    return Finding("recording", State.GOOD if state == "native" else State.NOTE, text)


def _directory(path: Path) -> Finding:
    what = "telemetry directory"
    if path.is_symlink() and not path.exists():
        return Finding(what, State.BAD, f"{path} is a link that leads nowhere; remove it or choose another directory")
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        return Finding(what, State.BAD, f"{nearest} is not writable ({error.strerror}); choose another directory")
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
    except (ValueError, OSError) as error:
        yield Finding("latest run", State.BAD, str(error))
        return
    name, status = content.get("run_id", run.resolve().name), content.get("status", "unknown")
    is_orphan = status == "running" and is_free(Series(run, 0).lock_path)
    if is_orphan:
        text = f"{name} says it is running, but no process writes it: run 'esper-otel relay {run} --follow' to find out"
        yield Finding("latest run", State.BAD, text)
        return
    is_bad = status in {"failed", "died"}
    yield Finding("latest run", State.BAD if is_bad else State.GOOD, f"{name}: {status}")
    if status == "running":
        yield _relay_of(content.get("relay"), str(name))


def _relay_of(relay: Any, run_id: str) -> Finding:
    what, url = "its relay", relay.get("prometheus_url") if isinstance(relay, dict) else None
    if not url:
        return Finding(what, State.NOTE, "serves no metrics")
    shown = redacted_url(str(url)[:MAX_SHOWN])
    try:
        text = metrics_of(url, run_id)
        lost = sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(LOST))
    except RelayAddressError as error:
        return Finding(what, State.BAD, f"{shown}, the address in run.json, {error}")
    except (OSError, ValueError, IndexError) as error:
        text = f"{shown} does not answer ({error}); start 'esper-otel relay RUN --follow'"
        return Finding(what, State.BAD, text)
    if lost:
        return Finding(what, State.BAD, f"{shown}: {lost:g} events were lost, see {LOST} by reason")
    return Finding(what, State.GOOD, f"{shown}: {len(text.splitlines())} lines, nothing lost")


def _scrape_address(run: Path) -> Finding:
    what = "scrape endpoint"
    try:
        host, port = address_from_env()
        with socket.create_server((host, port)):
            pass
    except ValueError as error:
        return Finding(what, State.BAD, str(error))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Finding(what, State.NOTE, f"{host}:{port}: {os.strerror(error.errno or 0)}")
        holder = f"by the relay of {run.resolve().name}" if _is_served_at(run, port) else "by another process"
        return Finding(what, State.NOTE, f"{host}:{port} is in use {holder}; the next relay takes the next free port")
    return Finding(what, State.GOOD, f"{host}:{port} is free")


def _is_served_at(run: Path, port: int) -> bool:
    """Return True if the relay of ``run`` answers at ``port`` of this host."""
    try:
        content = manifest.read(run)
        url = (content.get("relay") or {}).get("prometheus_url")
        return urlsplit(url).port == port and bool(metrics_of(url, str(content.get("run_id", run.resolve().name))))
    except (OSError, ValueError, AttributeError):  # nothing there, or not as a run's file is
        return False


def _endpoints() -> Iterator[Finding]:
    exporters = Exporters.from_env(resource_from_env(resource_defaults("doctor")))
    for problem in exporters.problems:
        yield Finding("OTLP", State.BAD, problem)
    for note in exporters.notes:
        yield Finding("OTLP", State.NOTE, note)
    if not exporters.active and not exporters.problems:
        yield Finding("OTLP", State.NOTE, exporters.describe())
    for exporter in exporters.active:
        failure = exporter.probe()
        text = f"{exporter.endpoint}: {failure or 'accepts requests'}"
        yield Finding(f"OTLP {exporter.signal}", State.BAD if failure else State.GOOD, text)
    exporters.stop()


def _log_events() -> Iterator[Finding]:
    """The log events that ESPER_OTEL_LOGS leaves out."""
    try:
        options = log_options()
    except ValueError as error:
        yield Finding("log events", State.BAD, str(error))
        return
    if options.label:
        yield Finding("log events", State.NOTE, f"{options.label}: {options}")


def _metrics() -> Iterator[Finding]:
    """The metrics that ESPER_OTEL_METRICS summarises."""
    try:
        chosen = metrics_option()
    except ValueError as error:
        yield Finding("metrics", State.BAD, str(error))
        return
    if chosen == SUMMARY:
        words = "ranks and environments are exported as their minimum, median, maximum and worst; the log has the rest"
        yield Finding("metrics", State.NOTE, f"{chosen}: {words}")


def _archive() -> Iterator[Finding]:
    """The archive that ESPER_OTEL_ARCHIVE names; it is listed, and nothing is written."""
    given = os.environ.get(ARCHIVE, "").strip()
    if not given:
        return
    try:
        address = address_of(archive_url(given))
        is_empty = next(iter(Store(address).items(SEGMENTS)), None) is None
    except (OSError, ValueError) as error:
        yield Finding("archive", State.BAD, str(error))
        return
    yield Finding("archive", State.GOOD, f"{address} can be listed and {'is empty' if is_empty else 'holds runs'}")


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
