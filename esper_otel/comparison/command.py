"""The command ``compare``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final

import duckdb
import msgspec
import typer

from esper_otel.comparison.compare import Comparison, Effect
from esper_otel.comparison.compare import compare as comparison_of
from esper_otel.comparison.curves import Outcome, outcomes_of
from esper_otel.comparison.sides import groups_of, paths_of
from esper_otel.runs.summary import IS_BETTER_HIGH
from esper_otel.sql.plain import plain
from esper_otel.text.terminal import printable

FAILED: Final = 3
_CONDITION: Final = re.compile(r"\s*(\w+)\s*([<>])\s*(-?\d+(?:\.\d+)?)\s*(%?)\s*")


class Condition(msgspec.Struct, frozen=True):
    """A change of B against A that must not be: ``reward < -5%``."""

    outcome: str
    is_below: bool
    limit: float
    is_relative: bool

    def meets(self, effect: Effect) -> bool:
        """True if the change is beyond the limit and no accident: its interval excludes 0."""
        change = effect.relative if self.is_relative else effect.difference.estimate
        is_beyond = change is not None and (change < self.limit if self.is_below else change > self.limit)
        return effect.outcome == self.outcome and is_beyond and effect.difference.excludes_zero


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A [B]...",
            help="Run, directory of runs, or several with commas between them; alone, an A/B run, or a directory"
            " with runs of several configurations.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fail_if: Annotated[
        str | None, typer.Option("--fail-if", help="Condition for exit status 3, for example 'reward < -5%'.")
    ] = None,
) -> None:
    """Compare runs: settings that differ, outcome with its interval, and a verdict. Read-only.

    Every further side is compared with the first. Exit status 3: the condition of --fail-if is met; 2: a run cannot be
    read.
    """
    try:
        condition = None if fail_if is None else condition_of(fail_if)
        first, *others = sides_of(sides)
        found = [comparison_of(first, other) for other in others]
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _tell(str(error))
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(plain([each.as_json() for each in found]), indent=2))
    else:
        print("\n".join(printable(line) for each in found for line in lines(each)))
    if condition is not None and any(condition.meets(effect) for each in found for effect in each.effects):
        _tell(f"--fail-if {fail_if}: it is so")
        raise typer.Exit(FAILED)


def sides_of(given: list[str]) -> list[list[Outcome]]:
    """The runs of each side; one A/B run alone has a side for each arm, one directory for each configuration in it.

    Raises:
        FileNotFoundError: there is nothing to read at one of them.
        ValueError: there is only one side.
    """
    if len(given) == 1:
        return _sides_in(given[0])
    return [[arm for path in paths_of(side, _tell) for arm in outcomes_of(path, _tell).values()] for side in given]


def _sides_in(given: str) -> list[list[Outcome]]:
    """Arms of an A/B run, or configurations among the runs of a directory."""
    paths = paths_of(given, _tell)
    if len(paths) > 1:
        groups = groups_of([str(path) for path in paths], _tell)
        if len(groups) > 1:
            return [group.runs for group in groups]
        raise ValueError(f"the runs of {given} differ by their seeds alone: give a second side to compare them with")
    arms = outcomes_of(paths[0], _tell)
    if len(arms) < 2:
        raise ValueError(f"{given} has one arm: give a second run, or a directory of runs, to compare it with")
    return [[arm] for arm in arms.values()]


def condition_of(text: str) -> Condition:
    """A condition as in ``reward < -5%``.

    Raises:
        ValueError: it is none.
    """
    found = _CONDITION.fullmatch(text)
    if found is None or found[1] not in IS_BETTER_HIGH:
        names = ", ".join(IS_BETTER_HIGH)
        raise ValueError(f"--fail-if: {text!r} is no condition; write for example 'reward < -5%', of {names}")
    return Condition(found[1], found[2] == "<", float(found[3]) / (100.0 if found[4] else 1.0), bool(found[4]))


def lines(found: Comparison) -> Iterator[str]:
    """The comparison as lines for people."""
    yield f"A: {', '.join(found.a)}"
    yield f"B: {', '.join(found.b)}"
    yield found.verdict
    yield ""
    yield "settings that differ:" if found.settings else "no setting differs"
    for name, a, b in found.settings:
        yield f"  {name}: {a} | {b}"
    for effect in found.effects:
        yield ""
        yield from _effect_lines(effect)


def _effect_lines(effect: Effect) -> Iterator[str]:
    unit = "round" if effect.at == "equal rounds" else "second"
    share = "" if effect.relative is None else f" ({effect.relative:+.1%})"
    interval = effect.difference
    yield f"{effect.outcome} at {effect.at} (to {unit} {effect.until:.6g}): A {effect.a:.5g}, B {effect.b:.5g}"
    ends = f"{interval.level:.1%} interval {interval.low:.4g} to {interval.high:.4g}"
    yield f"  B - A {interval.estimate:+.4g}{share}, {ends},"
    yield f"  resampled over {effect.over}; verdict: {effect.verdict}{_reason(effect)}"


def _reason(effect: Effect) -> str:
    if effect.why_none:
        return f" ({effect.why_none})"
    return "" if effect.parts_at is None else f" (they part at round {effect.parts_at:g})"


def _tell(text: str) -> Any:
    print(f"esper-otel compare: {printable(text)}", file=sys.stderr)
