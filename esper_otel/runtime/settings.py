"""Settings of ``configure()``: arguments first, then the environment, then defaults.

A wrong argument raises an error. An invalid variable does not: training starts anyway, and the problem is
reported.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.locks.processes import process_start
from esper_otel.runtime.arguments import (
    checked_notes,
    checked_path,
    checked_run_id,
    checked_seconds,
    checked_switch,
    checked_tags,
    checked_text,
    checked_whole,
    run_id_problem,
)
from esper_otel.runtime.environment import Environment
from esper_otel.runtime.identity import PARENT_RUN
from esper_otel.runtime.launch import MARK

STABILITY_VARIABLE: Final = "ESPER_OTEL_STABILITY_OPT_IN"
DEFAULT_LINGER_S: Final = 30.0
"""Long enough for a scrape of the last values at the usual interval of 15 s."""

WAIT_AS_FIRST_PROCESS_S: Final = 10.0
"""Wait of ``shutdown()`` in the first process of a container, whose end is the end of its relay."""

_RESTART: Final = "TORCHELASTIC_RESTART_COUNT"


class Stability(StrEnum):
    """Names under which events are written: new ones, both, or esper-lite's alone."""

    DOMAINS = "domains"
    DUPLICATE = "domains/dup"
    LEGACY = "legacy"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one run in one process.

    Attributes:
        telemetry_dir: directory of runs.
        run_id: identity of the run, the same on every rank.
        is_named_by_caller: whether the caller gave ``run_id``.
        rank: rank of this process, from 0.
        world_size: number of ranks, at least 1.
        relay: whether this process starts the relay: once per node.
        is_one_of_nodes: whether other nodes start relays as well.
        group_id: A/B group of events that do not name one.
        linger_s: seconds that the relay stays scrapable after the end.
        wait_s: seconds that the end of the run waits for the relay.
        stability: names under which events are written.
        tags: words to find the run by.
        notes: what somebody has to say about it.
        problems: one message for each invalid variable.
    """

    telemetry_dir: Path
    run_id: str
    is_named_by_caller: bool = False
    rank: int
    world_size: int
    relay: bool
    is_one_of_nodes: bool = False
    group_id: str
    linger_s: float
    wait_s: float
    stability: Stability
    tags: tuple[str, ...] = ()
    notes: str = ""
    problems: tuple[str, ...] = ()

    @property
    def run_dir(self) -> Path:
        """Directory of the run."""
        return self.telemetry_dir / self.run_id


def gather(
    *,
    telemetry_dir: str | os.PathLike[str] | None,
    run_id: str | None,
    rank: int | None,
    world_size: int | None,
    relay: bool | None,
    group_id: str,
    linger_s: float | None,
    tags: Iterable[str] | None = None,
    notes: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from the arguments and the environment (default: the process's own).

    Raises:
        TypeError, ValueError: an argument has a value that makes no sense; the message names it.
    """
    env = Environment(os.environ if environment is None else environment)
    given_size = None if world_size is None else checked_whole("world_size", world_size, 1)
    given_rank = (
        None if rank is None else checked_whole("rank", rank, 0, None if given_size is None else given_size - 1)
    )
    own_rank, size = _place(env, given_rank, given_size)
    return Settings(
        telemetry_dir=_directory(env, telemetry_dir),
        is_named_by_caller=run_id is not None,
        run_id=checked_run_id(run_id) if run_id is not None else _own_run_id(env, own_rank, size),
        rank=own_rank,
        world_size=size,
        relay=_starts_relay(env, None if relay is None else checked_switch("relay", relay), own_rank),
        is_one_of_nodes=size > 1 and not env.place.is_on_one_node,
        group_id=checked_text("group_id", group_id),
        linger_s=env.seconds("ESPER_OTEL_LINGER", DEFAULT_LINGER_S)
        if linger_s is None
        else checked_seconds("linger_s", linger_s),
        wait_s=env.seconds("ESPER_OTEL_SHUTDOWN_WAIT", WAIT_AS_FIRST_PROCESS_S if os.getpid() == 1 else 0.0),
        stability=_stability(env),
        tags=checked_tags(env.words("ESPER_OTEL_TAGS") if tags is None else tags),
        notes=checked_notes(env.text("ESPER_OTEL_NOTES") if notes is None else notes),
        problems=tuple(env.problems),
    )


def _place(env: Environment, rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of ranks; an argument overrides a variable."""
    found = env.place
    size = env.whole("WORLD_SIZE", found.size or 1, least=1) if world_size is None else world_size
    if rank is not None:
        return rank, max(size, rank + 1)
    if not env.text("RANK") and found.rank is not None and found.rank < size:
        return found.rank, size
    own_rank = env.whole("RANK", 0)
    if own_rank < size:
        return own_rank, size
    if world_size is None:
        env.refuse(
            "RANK", f"in 0..{size - 1} for a WORLD_SIZE of {size}", f"A world size of {own_rank + 1} is assumed."
        )
        return own_rank, own_rank + 1
    env.refuse("RANK", f"in 0..{size - 1} for a world size of {size}", "Rank 0 is assumed.")
    return 0, size


def _directory(env: Environment, given: str | os.PathLike[str] | None) -> Path:
    name = "ESPER_OTEL_TELEMETRY_DIR"
    path = checked_path("telemetry_dir", given) if given is not None else Path(env.text(name) or "telemetry")
    with suppress(RuntimeError):  # nobody knows the home directory
        path = path.expanduser()  # where no shell has: systemd, Docker, .env files
    try:
        return path.absolute()
    except OSError:  # the current directory was removed; the log's own thread reports what it cannot write
        return path


def _starts_relay(env: Environment, asked: bool | None, rank: int) -> bool:
    """Decide whether this process starts the relay: the first process of a node does, for all its ranks."""
    local_rank = env.place.local_rank
    is_first = env.whole("LOCAL_RANK", rank if local_rank is None else local_rank) == 0
    wanted = env.flag("ESPER_OTEL_RELAY", default=True) if asked is None else asked
    if not wanted or not is_first or env.flag("OTEL_SDK_DISABLED", default=False):
        return False
    if env.text(MARK):
        env.problems.append(
            "no relay is started: this process was itself started as one. The interpreter that should run the relay "
            "starts the application; run 'esper-otel relay RUN --follow' beside it"
        )
        return False
    return True


def _stability(env: Environment) -> Stability:
    text = env.text(STABILITY_VARIABLE) or Stability.DOMAINS.value
    try:
        return Stability(text)
    except ValueError:
        env.refuse(STABILITY_VARIABLE, "one of " + ", ".join(Stability), f"{Stability.DOMAINS.value} applies.")
        return Stability.DOMAINS


def _own_run_id(env: Environment, rank: int, world_size: int) -> str:
    name = "ESPER_OTEL_RUN_ID"
    text = env.text(name)
    if not text:
        return _new_run_id(env, rank, world_size)
    problem = run_id_problem(text)
    if problem is None:
        return text
    made = _new_run_id(env, rank, world_size)
    env.problems.append(f"{name} is ignored: it {problem}. The run is called {made}")
    return made


def _new_run_id(env: Environment, rank: int, world_size: int) -> str:
    if world_size == 1:
        return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    if rank and (of_parent := _parents_run_id(env)):
        return of_parent
    local_size = env.place.local_size
    if env.place.job and (local_size is None or local_size < world_size):
        return _hashed(env.place.job, *map(env.text, ("MASTER_ADDR", "MASTER_PORT", _RESTART)))
    made = _siblings_run_id(env)
    if not env.place.is_on_one_node:
        env.problems.append(
            f"{world_size} ranks on several nodes have no common name for their run: give run_id=… or set "
            f"ESPER_OTEL_RUN_ID. The ranks of this node are recorded as {made}"
        )
    return made


def _parents_run_id(env: Environment) -> str | None:
    """Run of the process that started this one, if that is rank 0 and has begun to record, as in Lightning."""
    pid, _, run_id = env.text(PARENT_RUN).partition(" ")
    return run_id if pid == str(os.getppid()) and run_id_problem(run_id) is None else None


def _siblings_run_id(env: Environment) -> str:
    """An id that the ranks of one node agree on without communication: they share the parent and its start time.

    A rank that starts the others is their parent itself.
    """
    parent = os.getpid() if env.place.starts_ranks else os.getppid()
    return _hashed(str(parent), str(process_start(parent)), env.text(_RESTART), env.text("MASTER_PORT"))


def _hashed(*parts: str) -> str:
    return f"{datetime.now(UTC):%Y%m%d}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"
