"""The command ``stacks``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from esper_otel.log.layout import RUN_FILE, Series, resolve
from esper_otel.stacks.dump import StackError, Thread, program, stacks_of
from esper_otel.stacks.owners import Owner, owners_of
from esper_otel.stacks.phase import phase_of
from esper_otel.text.terminal import printable

UNREAD: Final = 3
"""Exit status when the stacks of a living rank could not be read."""


def stacks(
    run: Annotated[Path, typer.Argument(help="Run directory, or directory of runs for the latest one.")],
    rank: Annotated[int | None, typer.Option(min=0, help="Only this rank.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the Python stacks of a run's living processes on this machine. They are read, not stopped.

    Needs the extra 'stacks' (py-spy). Exit status 3: a rank that lives could not be read, or lives elsewhere; 2: there
    is no run, or none of its processes lives.
    """
    if program() is None:
        raise ModuleNotFoundError("py-spy is not installed", name="py-spy")  # the program says which extra has it
    try:
        owners = [each for each in owners_of(_directory(run)) if rank in (None, each.rank)]
    except (OSError, ValueError) as error:
        _fail(str(error))
    if not owners:
        _fail(f"no process of {run} lives{'' if rank is None else f' as rank {rank}'}")
    found = [(owner, *_read(owner)) for owner in owners]
    if as_json:
        content = msgspec.json.encode([_plain(*each) for each in found])
        sys.stdout.write(msgspec.json.format(content, indent=2).decode() + "\n")
    else:
        print("\n".join(printable(line) for each in found for line in _lines(*each)))
    if any(problem for _, _, problem in found):
        raise typer.Exit(UNREAD)


def _directory(run: Path) -> Path:
    if (run / RUN_FILE).is_file():
        return run  # a run that hangs before its first event has no log
    source = resolve(run)[0]
    if not isinstance(source, Series):
        raise ValueError(f"{run} is no run directory: a log file alone does not say which process writes it")
    return source.directory


def _read(owner: Owner) -> tuple[list[Thread], str]:
    try:
        return stacks_of(owner), ""
    except (StackError, OSError) as error:
        return [], str(error)


def _plain(owner: Owner, threads: list[Thread], problem: str) -> dict[str, Any]:
    found = {"rank": owner.rank, "pid": owner.pid, "host": owner.host, "phase": phase_of(threads), "problem": problem}
    return {**{name: value for name, value in found.items() if value not in (None, "")}, "threads": threads}


def _lines(owner: Owner, threads: list[Thread], problem: str) -> Iterator[str]:
    where = f"process {owner.pid} on {owner.host}" if owner.pid is not None else owner.host
    phase = phase_of(threads)
    yield f"rank {owner.rank} ({where}){f', in {phase}' if phase else ''}{f': {problem}' if problem else ''}"
    for thread in threads:
        marks = [word for word, is_so in (("running", thread.active), ("holds the GIL", thread.owns_gil)) if is_so]
        name = thread.thread_name or "without a name"
        said = f" ({', '.join(marks)})" if marks else ""
        yield f"  thread {thread.os_thread_id or '?'} {name}{said}"
        for frame in thread.frames:
            yield f"    {frame.text}"


def _fail(text: str) -> Any:
    print(f"esper-otel stacks: {printable(text)}", file=sys.stderr)
    raise typer.Exit(2)
