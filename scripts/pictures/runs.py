"""Runs that pictures are made of: each is started with low priority and trained to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from deploy.stack.layout import Layout
from deploy.stack.program import StackError
from scripts.pictures import plain_loop, replay
from scripts.pictures.browser import Shown

ROOT: Final = Path(__file__).parents[2]
SCRAPE_S: Final = 5.0
LAST_EVENTS_S: Final = 3 * SCRAPE_S
TRAINING_S: Final = 3600.0
REPLAY_S: Final = 300.0
"""A recording of half a minute, over so long that Prometheus scrapes each of its rounds."""

NICER: Final = 10
DEMO, CHAOS, ARMS, RANKS, LITE, PLAIN = "demo", "chaos", "ab", "ranks", "esper-lite", "plain"
ALL: Final = (DEMO, CHAOS, ARMS, RANKS, LITE, PLAIN)


class Run(msgspec.Struct, frozen=True):
    """Programs of one run, which are started together; the last one ends when Prometheus has all of it."""

    name: str
    commands: tuple[tuple[str, ...], ...]


def runs_named(names: tuple[str, ...], at: Layout, rounds: int, recording: Path | None) -> tuple[Run, ...]:
    """The runs called ``names``.

    Raises:
        StackError: esper-lite's is wanted and there is no recording.
    """
    if LITE in names and (recording is None or not recording.exists()):
        raise StackError(f"--recording {recording}: a recording of esper-lite (.jsonl.gz) is needed for its run")
    telemetry = at.settings.telemetry_dir
    python, command = sys.executable, str(Path(sys.executable).with_name("esper-otel"))
    options = ("--no-progress", "--telemetry-dir", str(telemetry))
    demo = ("-m", "trainer", "--recipe", "demo", *options, "--rounds")
    lite = telemetry / f"telemetry_{LITE}"
    ranks = (python, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    commands: dict[str, tuple[tuple[str, ...], ...]] = {
        DEMO: ((python, *demo, str(rounds)),),
        CHAOS: ((python, "-m", "trainer", "--recipe", "chaos", *options),),
        ARMS: ((python, *demo, str(rounds), "--envs", "2", "--ab", "shaped,sparse"),),
        RANKS: ((*ranks, *demo, str(max(rounds // 2, 1)), "--envs", "2"),),
        LITE: (
            (python, "-m", replay.__name__, str(recording), str(lite), str(REPLAY_S)),
            (command, "relay", str(lite), "--follow", "--idle-exit", "60", "--run-id", LITE),
        ),
        PLAIN: ((command, "run", str(Path(plain_loop.__file__))),),
    }
    return tuple(Run(name, commands[name]) for name in names)


@contextmanager
def trained(at: Layout, runs: tuple[Run, ...]) -> Iterator[dict[str, Shown]]:
    """All runs trained to their end; yields the time of each.

    Raises:
        StackError: one failed, or is not done after ``TRAINING_S``.
    """
    since = time.time()
    shown: dict[str, Shown] = {}
    with ExitStack() as cleanup:
        children = {run.name: [_started(at, run.name, one, cleanup) for one in run.commands] for run in runs}
        while len(shown) < len(children):
            time.sleep(1.0)
            for name, programs in children.items():
                if any(program.poll() for program in programs) or time.time() > since + TRAINING_S:
                    raise StackError(f"the run {name} failed, or is not done after {TRAINING_S:g} s")
                if name not in shown and all(program.returncode == 0 for program in programs):
                    shown[name] = since, time.time() + LAST_EVENTS_S
        time.sleep(LAST_EVENTS_S)
        yield shown


def _started(at: Layout, name: str, command: tuple[str, ...], cleanup: ExitStack) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ESPER_OTEL_"))}
    environment = {
        **({"OTEL_EXPORTER_OTLP_ENDPOINT": at.url("otlp_http")} if at.has("collector") else {}),
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "ESPER_OTEL_RUN_ID": name,
        "ESPER_OTEL_TELEMETRY_DIR": str(at.settings.telemetry_dir),
        "ESPER_OTEL_LINGER": str(int(LAST_EVENTS_S * 4)),
    }
    child = subprocess.Popen(
        ["nice", "-n", str(NICER), *command], cwd=ROOT, env=kept | environment, stdout=subprocess.DEVNULL
    )
    cleanup.callback(_stopped, child)
    return child


def _stopped(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(LAST_EVENTS_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
