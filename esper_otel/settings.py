"""What ``configure()`` was asked for: arguments first, then the environment, then defaults."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

STABILITY_VARIABLE: Final = "ESPER_OTEL_STABILITY_OPT_IN"
DEFAULT_LINGER_S: Final = 30.0
"""Long enough for the last values to be scraped at the usual interval of 15 s."""

_RUN_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_SWITCH: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


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
        rank: rank of this process, from 0.
        world_size: number of ranks, at least 1.
        relay: whether this process starts the relay: once per node.
        group_id: A/B group of events that do not name one.
        linger_s: seconds that the relay stays scrapable after the end.
        stability: names under which events are written.
    """

    telemetry_dir: Path
    run_id: str
    rank: int
    world_size: int
    relay: bool
    group_id: str
    linger_s: float
    stability: Stability

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
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that the arguments and the environment (default: the process's own) amount to.

    Raises:
        ValueError: an argument or a variable has a value that is not understood; the message names it.
    """
    env = os.environ if environment is None else environment
    own_rank = _whole(env, "RANK", 0) if rank is None else rank
    size = _whole(env, "WORLD_SIZE", 1) if world_size is None else world_size
    if not 0 <= own_rank < size:
        raise ValueError(f"rank must be in 0..{size - 1} for a world size of {size}, not {own_rank}")
    return Settings(
        telemetry_dir=Path(telemetry_dir or env.get("ESPER_OTEL_TELEMETRY_DIR") or "telemetry").absolute(),
        run_id=_checked_run_id(run_id or env.get("ESPER_OTEL_RUN_ID") or _new_run_id(env, size)),
        rank=own_rank,
        world_size=size,
        relay=_starts_relay(env, relay, own_rank),
        group_id=group_id,
        linger_s=_seconds(env, "ESPER_OTEL_LINGER", DEFAULT_LINGER_S) if linger_s is None else linger_s,
        stability=_stability(env),
    )


def _starts_relay(env: Mapping[str, str], asked: bool | None, rank: int) -> bool:
    """One relay follows all ranks of a node: its first process starts it."""
    is_first = _whole(env, "LOCAL_RANK", rank) == 0
    wanted = _flag(env, "ESPER_OTEL_RELAY", default=True) if asked is None else asked
    return wanted and is_first and not _flag(env, "OTEL_SDK_DISABLED", default=False)


def _stability(env: Mapping[str, str]) -> Stability:
    text = env.get(STABILITY_VARIABLE) or Stability.DOMAINS.value
    try:
        return Stability(text)
    except ValueError:
        choices = ", ".join(choice.value for choice in Stability)
        raise ValueError(f"{STABILITY_VARIABLE} must be one of {choices}, not {text!r}") from None


def _checked_run_id(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise ValueError(
            f"run_id must be 1 to 128 letters, digits, '.', '_' or '-', not beginning with '.', not {run_id[:150]!r}"
        )
    return run_id


def _new_run_id(env: Mapping[str, str], world_size: int) -> str:
    if world_size == 1:
        return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    if env.get("LOCAL_WORLD_SIZE") != str(world_size):
        raise ValueError(
            f"{world_size} ranks on several nodes need one name for their run: give run_id=… or set ESPER_OTEL_RUN_ID"
        )
    return _siblings_run_id(env)


def _siblings_run_id(env: Mapping[str, str]) -> str:
    """An id on which the ranks of one node agree without talking: they have one parent, started at one moment."""
    parent = os.getppid()
    seed = f"{parent} {process_start(parent)} {env.get('TORCHELASTIC_RESTART_COUNT', '')} {env.get('MASTER_PORT', '')}"
    return f"{datetime.now(UTC):%Y%m%d}-{hashlib.sha256(seed.encode()).hexdigest()[:12]}"


def process_start(pid: int) -> int:
    """When ``pid`` started, in clock ticks since boot, to tell it from a later process of that number; 0 if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _SWITCH:
        raise ValueError(f"{name} must be 0 or 1, not {text!r}")
    return _SWITCH[text]


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} must be a number of seconds, not {text!r}")
    return seconds
