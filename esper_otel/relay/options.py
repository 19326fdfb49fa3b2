"""What a relay is asked to do, and which run that means."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.layout import RELAY_DIRECTORY, RUN_FILE, Series, resolve
from esper_otel.log.opening import refuse_link
from esper_otel.settings import DEFAULT_LINGER_S

DEFAULT_DRAIN_S: Final = 60.0
DEFAULT_STALL_S: Final = 300.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One relay.

    Attributes:
        run: run directory, log file or telemetry directory.
        follow: whether the log grows; otherwise it is read to its end once.
        linger_s: how long it stays scrapable after the end.
        drain_s: how long it goes on delivering to an OTLP endpoint after the end.
        stall_after_s: time without progress after which a run counts as stalled.
        idle_exit_s: time without a new line, counted from the first one, after which a followed log counts as ended;
            None waits for RUN_ENDED.
        state_dir: where position and state are kept; None means the run directory, nowhere for a lone file.
        from_start: forget the stored position.
        run_id: name of the run, for logs that have none.
        parent_pid: the training process, where it started this relay.
    """

    run: Path
    follow: bool = False
    linger_s: float = DEFAULT_LINGER_S
    drain_s: float = DEFAULT_DRAIN_S
    stall_after_s: float = DEFAULT_STALL_S
    idle_exit_s: float | None = None
    state_dir: Path | None = None
    from_start: bool = False
    run_id: str | None = None
    parent_pid: int | None = None


class Subject(msgspec.Struct, frozen=True):
    """The run that a relay works on.

    Attributes:
        run_id: its name.
        directory: its directory, None for a lone file.
        is_ours: whether it has a ``run.json``, so that its status can be kept there.
    """

    run_id: str
    directory: Path | None
    is_ours: bool

    @property
    def targets_directory(self) -> Path | None:
        """Where ``prometheus_targets.json`` stands: beside the runs."""
        return self.directory.parent if self.directory is not None and self.is_ours else None


def subject_of(options: Options) -> Subject:
    """Find the run.

    Raises:
        FileNotFoundError: there is no log, and none is waited for.
    """
    directory = _directory(options)
    is_ours = directory is not None and (directory / RUN_FILE).exists()
    if options.run_id:
        name = options.run_id
    elif directory is not None:
        name = directory.resolve().name
    else:
        name = options.run.name.split(".jsonl")[0]
    return Subject(name, directory, is_ours)


def _directory(options: Options) -> Path | None:
    try:
        sources = resolve(options.run)
    except FileNotFoundError:
        if not options.follow:
            raise
        return options.run
    source = sources[0]
    return source.directory if isinstance(source, Series) else None


def state_directory_of(options: Options, subject: Subject) -> Path | None:
    """Where state is kept, if anywhere: reading a lone file leaves nothing beside it.

    Raises:
        OSError: the run's own directory for it is a symbolic link.
    """
    if options.state_dir is not None:
        return options.state_dir
    if subject.directory is not None and (subject.is_ours or options.follow):
        refuse_link(subject.directory / RELAY_DIRECTORY)
        return subject.directory / RELAY_DIRECTORY
    return None


def resource_defaults(run_id: str) -> dict[str, str | int]:
    """Resource attributes unless OTEL_RESOURCE_ATTRIBUTES says otherwise."""
    return {
        "service.name": "esper",
        "service.version": version("esper-otel"),
        "service.instance.id": run_id,
        "esper.run.id": run_id,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
