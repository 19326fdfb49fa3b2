"""Cost of watching every update of a loop: ours beside other tools, each against the same loop without it.

    python -m benchmarks.autolog [--blocks 12] [--steps 200] [--width 64] [--only ours] [--packages DIR] [--write PAGE]

Two processes train the same small network and take turns, without, with, with, without: what a tool patches cannot
always be taken back. The times are CPU time, so that other work on the machine counts little. The project does not
depend on the tools: ``uv pip install --no-deps --target DIR -r benchmarks/alternatives/watchers.txt`` brings them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.slowdown import interval
from benchmarks.table.machine import load

WORKER: Final = Path(__file__).parent / "alternatives" / "watched.py"
ROOT: Final = Path(__file__).parents[1]
LONGEST_END_S: Final = 900.0
TRACEML: Final = """
from traceml_ai.launcher import cli, commands
commands.DEFAULT_TCP_READY_TIMEOUT_SEC = 300.0
cli.main()
"""
"""Its launcher, which gives its other process 15 s to start: too few on a machine with other work."""

BEGIN, END = "<!-- the table of costs: begin -->", "<!-- the table of costs: end -->"


class Way(msgspec.Struct, frozen=True):
    """A tool.

    Attributes:
        label: its name in the table.
        name: of the function in ``watched.py``; the module-level name of the loop that it is compared with.
        without: the same of the loop that it is compared with.
        records: what it records of this loop.
        package: what must be installed.
    """

    label: str
    name: str
    without: str
    records: str
    package: str = ""


WAYS: Final = (
    Way("nothing (A/A)", "plain", "plain", "nothing"),
    Way(
        "esper_otel.autolog()",
        "esper_otel",
        "plain",
        "every update: norm before and after clipping, loss, learning rate, phases; layers' gradients every 2 s",
    ),
    Way("TraceML", "traceml", "plain", "time and memory of every step by phase", "traceml-ai"),
    Way("torchtel", "torchtel", "plain", "a span for forward, backward and step", "torchtel"),
    Way("MLflow autolog", "mlflow_autolog", "plain", "nothing of a loop without Lightning", "mlflow-skinny"),
    Way("W&B watch", "wandb_watch", "wandb_log", "histograms of gradients, each 1,000th step", "wandb"),
    Way("W&B watch, log_freq=1", "wandb_watch_all", "wandb_log", "histograms of gradients, every step", "wandb"),
    Way(
        "MLflow autolog, loss to TensorBoard",
        "mlflow_tensorboard",
        "tensorboard",
        "the number that SummaryWriter gets",
        "mlflow-skinny",
    ),
    Way(
        "esper_otel.autolog(), loss to TensorBoard",
        "esper_otel_tensorboard",
        "tensorboard",
        "as above, and the number that SummaryWriter gets",
    ),
)


class Worker:
    """A process that trains blocks on demand."""

    def __init__(self, process: subprocess.Popen[bytes], commands: Any, answers: Any) -> None:
        """``commands`` and ``answers`` are open."""
        self._process = process
        self._commands = commands
        self._answers = answers

    def block(self, steps: int) -> tuple[float, float]:
        """CPU time of a step in s: of the training thread, and of the process."""
        print(steps, file=self._commands, flush=True)
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"a worker ended with status {self._process.wait()}")
        thread, process = json.loads(line)
        return thread, process


@contextmanager
def worker(name: str, width: int, packages: Path | None) -> Iterator[Worker]:
    """Start one and end it."""
    with tempfile.TemporaryDirectory() as temporary:
        commands, answers, log = (Path(temporary) / one for one in ("commands", "answers", "log"))
        os.mkfifo(commands)
        os.mkfifo(answers)
        arguments = [name, str(width), str(commands), str(answers)]
        launcher = [sys.executable, str(WORKER)]
        if name == "traceml" and packages is not None:
            launcher = [sys.executable, "-c", TRACEML, "run", str(WORKER), "--logs-dir", temporary, "--args"]
        path = os.pathsep.join([str(ROOT), *([str(packages)] if packages is not None else [])])
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "ESPER_", "WANDB_"))}
        environment = kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ESPER_OTEL_AUTOLOG": "1"}
        with log.open("wb") as said:
            process = subprocess.Popen([*launcher, *arguments], stdout=said, stderr=said, env=environment)
            try:
                ends = (open_when_ready(process, end, mode) for end, mode in ((commands, "w"), (answers, "r")))
                with ExitStack() as opened:
                    yield Worker(process, *(opened.enter_context(end) for end in ends))
                process.wait(LONGEST_END_S)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                last = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
                raise RuntimeError(f"{error}: {' '.join(last)}") from None
            finally:
                process.kill()
                process.wait()


def open_when_ready(process: subprocess.Popen[bytes], end: Path, mode: str) -> Any:
    """Open an end of a pipe once the worker has opened the other."""
    flags = os.O_WRONLY | os.O_NONBLOCK if mode == "w" else os.O_RDONLY
    while True:
        try:
            descriptor = os.open(end, flags)
        except OSError:  # nobody reads it yet
            if process.poll() is not None:
                raise RuntimeError(f"a worker ended with status {process.returncode}") from None
            time.sleep(0.1)
        else:
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, mode, encoding="utf-8")


def measured(way: Way, blocks: int, steps: int, width: int, packages: Path | None) -> dict[str, Any]:
    """One row."""
    threads: list[tuple[float, ...]] = []
    processes: list[tuple[float, ...]] = []
    with worker(way.without, width, packages) as off, worker(way.name, width, packages) as on:
        for one in (off, on):
            one.block(steps)
        for _ in range(blocks):
            taken = [one.block(steps) for one in (off, on, on, off)]
            threads.append(tuple(thread for thread, _ in taken))
            processes.append(tuple(process for _, process in taken))
    ratios = [ratio(quad) for quad in threads]
    low, high = interval(ratios)
    least_off, least_on = min(min(q[0], q[3]) for q in threads), min(min(q[1], q[2]) for q in threads)
    return {
        "way": way.label,
        "records": way.records,
        "ratio": statistics.median(ratios),
        "low": low,
        "high": high,
        "off_us": least_off * 1e6,
        "on_us": least_on * 1e6,
        "sum_ratio": ratio(tuple(map(sum, zip(*threads, strict=True)))),
        "process_ratio": statistics.median(ratio(quad) for quad in processes),
    }


def ratio(quad: tuple[float, ...]) -> float:
    """With to without of one turn."""
    first, second, third, fourth = quad
    return (second + third) / (first + fourth)


def table(rows: list[dict[str, Any]], width: int, packages: Path | None, loads: tuple[float, float]) -> str:
    """The rows in Markdown, with the date and the versions."""
    folders = [*sys.path, *([str(packages)] if packages is not None else [])]
    found = {one.name.lower(): one.version for one in distributions(path=folders)}
    names = ("torch", *dict.fromkeys(way.package for way in WAYS if way.package))
    versions = ", ".join(f"{name} {found[name]}" for name in names if name in found)
    text = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores with a load of {loads[0]:.1f} before and "
        f"{loads[1]:.1f} after, layers of {width}, {versions}.\n\n"
        "| tool | records of this loop | ratio | of all steps | added, µs | of the process |\n"
        "|---|---|--:|--:|--:|--:|\n"
    )
    for row in rows:
        if "failed" in row:
            text += f"| {row['way']} | {row['records']} | could not be run: {row['failed']} | | | |\n"
            continue
        text += (
            f"| {row['way']} | {row['records']} | {row['ratio']:.3f} ({row['low']:.3f}–{row['high']:.3f}) "
            f"| {row['sum_ratio']:.3f} | {row['on_us'] - row['off_us']:.0f} of {row['off_us']:.0f} "
            f"| {row['process_ratio']:.3f} |\n"
        )
    return text


def write(page: Path, text: str) -> None:
    """Put the table between the page's comments."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--only", default="", help="ways whose name holds this")
    parser.add_argument("--packages", type=Path, help="directory with the other tools")
    parser.add_argument("--write", type=Path, help="page to put the table into")
    options = parser.parse_args()
    packages = options.packages.absolute() if options.packages else None
    rows, before = [], load()
    for way in WAYS:
        if options.only not in way.label:
            continue
        try:
            row = measured(way, options.blocks, options.steps, options.width, packages)
        except RuntimeError as error:
            row = {"way": way.label, "records": way.records, "failed": str(error)}
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    text = table(rows, options.width, packages, (before, load()))
    print(text)
    if options.write:
        write(options.write, text)


if __name__ == "__main__":
    main()
