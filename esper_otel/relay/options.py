"""Options of a relay, and the run that they mean."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log import manifest
from esper_otel.log.layout import RUN_FILE, Series, ranks_with_lock, relay_directory, resolve
from esper_otel.log.opening import refuse_link
from esper_otel.log.reading.standing import STALLED_S
from esper_otel.runtime.job import attributes_of_run, job_attributes
from esper_otel.runtime.settings import DEFAULT_LINGER_S

COMMIT: Final = "vcs.ref.head.revision"
"""Resource attribute of the commit that is trained, by OpenTelemetry's conventions."""

DEFAULT_DRAIN_S: Final = 60.0
DEFAULT_GRACE_S: Final = 0.0
DEFAULT_LAST_SCRAPE_S: Final = 20.0
"""Longer than the usual scrape interval of 15 s."""
DEFAULT_STALL_S: Final = STALLED_S
DEFAULT_WAIT_S: Final = 30.0
"""Long enough for a relay that is ending, whatever its endpoints do; one that follows the run again goes on."""


class AlertOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts that the relay raises itself.

    Attributes:
        webhook: address that gets them; empty for none.
        command: program that is run for each of them, and its arguments; empty for none.
    """

    webhook: str = ""
    command: tuple[str, ...] = ()


ALL: Final = "all"
SUMMARY: Final = "summary"
WARNINGS: Final = "warnings"
SAMPLED: Final = "sampled"
DEFAULT_EVERY: Final = 100
"""Rounds of which one is whole: of the log events of a long run some 2 % are left."""


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The log events that are sent by OTLP.

    Attributes:
        kept: ``all``; ``warnings`` and events of the run itself; or ``sampled``, which adds one round in ``every``.
        every: rounds of which one is sent whole.
    """

    kept: str = ALL
    every: int = DEFAULT_EVERY

    @property
    def label(self) -> str:
        """``warnings``, or ``sampled/100`` for one round in 100; empty where all are sent."""
        return {ALL: "", WARNINGS: WARNINGS}.get(self.kept, f"{self.kept}/{self.every}")

    def __str__(self) -> str:
        """The choice in words, for people."""
        if self.kept == ALL:
            return "all log events are sent"
        every = f" and of all events of round 1 and every {self.every}th round" if self.kept == SAMPLED else ""
        return f"log events of warnings, of the run itself{every} are sent; the event log has the rest"


ALL_LOGS: Final = LogOptions()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one relay.

    Attributes:
        run: run directory, log file or telemetry directory.
        follow: whether the log grows; otherwise it is read to its end once.
        linger_s: time that it serves metrics after the end, s.
        drain_s: time that it continues delivering to an OTLP endpoint after the end, s.
        stall_after_s: time without progress after which a run counts as stalled.
        idle_exit_s: time without a new line, counted from the first one, after which a followed log counts as ended;
            None waits for RUN_ENDED.
        state_dir: where position and state are kept; None means the run directory, nowhere for a lone file.
        from_start: ignore the stored position.
        run_id: name of the run, for logs that have none.
        parent_pid: the training process, where it started this relay.
        of_node: whether it follows the ranks of its own node alone, since every node has a relay.
        grace_s: time that a followed run may take to end after SIGTERM, s, before the relay ends; 0 ends it at once.
        last_scrape_s: time that the last scrape may take then, s.
        wait_s: how long another relay that works on the run may take to end.
        alerts: alerts that the relay raises itself; None for none.
        archive: address of the archive that the run goes into; empty for none.
        logs: the log events that are sent by OTLP.
        metrics: ``all``; or ``summary``, of the ranks and environments.
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
    of_node: bool = False
    grace_s: float = DEFAULT_GRACE_S
    last_scrape_s: float = DEFAULT_LAST_SCRAPE_S
    wait_s: float = DEFAULT_WAIT_S
    alerts: AlertOptions | None = None
    archive: str = ""
    logs: LogOptions = ALL_LOGS
    metrics: str = ALL


class Subject(msgspec.Struct, frozen=True):
    """The run that a relay works on.

    Attributes:
        run_id: its name.
        directory: its directory, None for a lone file.
        is_ours: whether our writer made it, so that its status is kept in ``run.json`` and its locks can be asked.
        targets_directory: directory of ``prometheus_targets.json``, beside the runs; None for a foreign log that is
            only replayed, beside which nothing is left.
    """

    run_id: str
    directory: Path | None
    is_ours: bool
    targets_directory: Path | None = None


def subject_of(options: Options) -> Subject:
    """Find the run.

    Raises:
        FileNotFoundError: there is no log, and none is waited for.
    """
    directory = _directory(options)
    made_here = directory is not None and is_ours(directory)
    if options.run_id:
        name = options.run_id
    elif directory is not None:
        name = directory.resolve().name
    else:
        name = options.run.name.split(".jsonl")[0]
    beside = _beside(options.run, directory) if made_here or options.follow else None
    return Subject(name, directory, made_here, beside)


def _beside(run: Path, directory: Path | None) -> Path:
    """The directory that holds the runs; of loose logs, the one that holds the logs."""
    if directory is not None:
        return directory.parent
    return run if run.is_dir() else run.parent


def is_ours(directory: Path) -> bool:
    """Return True if our writer made the directory; a cleaner may have removed one of its marks."""
    return (directory / RUN_FILE).exists() or bool(ranks_with_lock(directory.resolve()))


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
    """Directory of the stored state, None for a lone file, beside which nothing is written.

    Raises:
        OSError: the run's own directory for it is a symbolic link.
    """
    if options.state_dir is not None:
        return options.state_dir
    if subject.directory is not None:
        directory = subject.directory / relay_directory(of_node=options.of_node)
        refuse_link(directory)
        return directory
    return None


def resource_defaults(run_id: str, *, is_first: bool = True, directory: Path | None = None) -> dict[str, str | int]:
    """Resource attributes unless OTEL_RESOURCE_ATTRIBUTES overrides them.

    Args:
        run_id: name of the run.
        is_first: whether the relay is the one of rank 0, where every node has one; no two send under one instance.
        directory: that of the run, whose ``run.json`` has the commit that was trained, and the job.
    """
    host = socket.gethostname()
    content = _manifest_in(directory)
    commit = content.get("commit")
    return {
        **attributes_of_run(content.get("job"), job_attributes(os.environ), is_first=is_first),
        **({COMMIT: commit} if isinstance(commit, str) and commit else {}),
        "service.name": "esper",
        "service.version": version("esper-otel"),
        "service.instance.id": run_id if is_first else f"{run_id}@{host}",
        "esper.run.id": run_id,
        "host.name": host,
        "process.pid": os.getpid(),
    }


def _manifest_in(directory: Path | None) -> dict[str, Any]:
    try:
        return manifest.read(directory) if directory is not None else {}
    except (OSError, ValueError):
        return {}
