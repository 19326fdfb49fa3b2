"""The comparison of two sides, each one run or several: settings that differ, outcomes, a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count
from statistics import fmean
from typing import Any, Final

import msgspec

from esper_otel.comparison.curves import Curve, Outcome
from esper_otel.comparison.resampling import Interval, least_chance, of_difference, of_pairs, of_rounds
from esper_otel.runs.summary import IS_BETTER_HIGH

LAST: Final = 0.2
"""Share of the common rounds, or of the common time, whose mean is a run's result."""

CHANCE: Final = 0.05
"""Chance of any verdict where there is no difference. It is divided by the number of effects (Bonferroni)."""

AT: Final = ("equal rounds", "equal time")


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome of B against A.

    Attributes:
        outcome: reward, accuracy or loss.
        at: ``equal rounds`` or ``equal time``.
        a: mean result of A.
        b: mean result of B.
        difference: B minus A with its interval.
        relative: the difference over the size of A's result; None where that is 0.
        over: what was resampled: ``pairs of seeds`` where both sides have the same and there are enough of them,
            else ``seeds``; ``rounds`` of one run a side.
        until: last round, or second, that all have.
        parts_at: round from which on the two stay apart as they end; None if they do not.
        verdict: ``better``, ``worse``, or ``none``.
        why_none: reason of a missing verdict.
    """

    outcome: str
    at: str
    a: float
    b: float
    difference: Interval
    relative: float | None
    over: str
    until: float
    parts_at: float | None
    verdict: str
    why_none: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """B against A.

    Attributes:
        a: runs of A.
        b: runs of B.
        settings: settings that differ, as (name, A, B); several values of a side are joined.
        effects: what came of it.
    """

    a: list[str]
    b: list[str]
    settings: list[tuple[str, str, str]]
    effects: list[Effect]

    @property
    def verdict(self) -> str:
        """The sentence on the whole, from the outcomes at equal rounds."""
        told = [effect for effect in self.effects if effect.at == "equal rounds"]
        clear = [f"{effect.verdict} in {effect.outcome}" for effect in told if effect.verdict != "none"]
        if clear:
            return f"B is {', '.join(clear)} than A."
        if not told:
            return "No verdict: the runs share no outcome."
        return f"No verdict: {told[0].why_none}."

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"verdict": self.verdict, **msgspec.to_builtins(self)}


def compare(a: Sequence[Outcome], b: Sequence[Outcome]) -> Comparison:
    """B against A, at least one run on each side."""
    shared = [outcome for outcome in IS_BETTER_HIGH if all(outcome in run.curves for run in (*a, *b))]
    chance = CHANCE / max(len(shared) * len(AT), 1)
    effects = [_effect(outcome, at, a, b, chance) for outcome in shared for at in AT]
    return Comparison([run.name for run in a], [run.name for run in b], _settings(a, b), effects)


def _settings(a: Sequence[Outcome], b: Sequence[Outcome]) -> list[tuple[str, str, str]]:
    names = dict.fromkeys(name for run in (*a, *b) for name in run.settings)
    found = [(name, _values(a, name), _values(b, name)) for name in names]
    return [each for each in found if each[1] != each[2]]


def _values(runs: Sequence[Outcome], name: str) -> str:
    return ", ".join(sorted({run.settings.get(name, "absent") for run in runs}))


def _effect(outcome: str, at: str, a: Sequence[Outcome], b: Sequence[Outcome], chance: float) -> Effect:
    axis = "numbers" if at == "equal rounds" else "seconds"
    until = min(getattr(run.curves[outcome], axis)[-1] for run in (*a, *b))
    ends_a, ends_b = ([_result(run.curves[outcome], axis, until) for run in side] for side in (a, b))
    pairs, level = _pairs(a, b), 1.0 - chance
    is_single = len(a) == len(b) == 1
    if is_single:
        of_blocks = of_rounds(_by_round(a[0].curves[outcome], b[0].curves[outcome]), level=level)
        over, difference = "rounds", msgspec.structs.replace(of_blocks, estimate=ends_b[0] - ends_a[0])
    elif pairs and least_chance(len(a), len(b), paired=True) <= chance:
        over, difference = "pairs of seeds", of_pairs([ends_b[j] - ends_a[i] for i, j in pairs], level=level)
    else:
        over, difference = "seeds", of_difference(ends_a, ends_b, level=level)
    mean_a, mean_b = fmean(ends_a), fmean(ends_b)
    why = _why_none(len(a), len(b), chance, difference, is_single)
    is_better = (difference.estimate > 0) == IS_BETTER_HIGH[outcome]
    return Effect(
        outcome=outcome,
        at=at,
        a=mean_a,
        b=mean_b,
        difference=difference,
        relative=difference.estimate / abs(mean_a) if mean_a else None,
        over=over,
        until=until,
        parts_at=None if why or axis == "seconds" else _parting(outcome, a, b, until),
        verdict="none" if why else "better" if is_better else "worse",
        why_none=why,
    )


def _why_none(a: int, b: int, chance: float, difference: Interval, is_single: bool) -> str:
    if is_single:
        return "one run a side says nothing about other seeds; give several of each"
    if least_chance(a, b, paired=False) > chance:
        enough = next(n for n in count(2) if least_chance(n, n, paired=False) <= chance)
        return f"{a} and {b} runs are too few to tell a difference from chance; {enough} a side suffice"
    return "" if difference.excludes_zero else "the difference is within what other seeds do"


def _pairs(a: Sequence[Outcome], b: Sequence[Outcome]) -> list[tuple[int, int]]:
    """Positions of runs with equal seeds, when every run has a partner."""
    seeds_a, seeds_b = ([run.seed for run in side] for side in (a, b))
    if None in seeds_a or Counter(seeds_a) != Counter(seeds_b) or len(set(seeds_a)) < len(seeds_a):
        return []
    return [(i, seeds_b.index(seed)) for i, seed in enumerate(seeds_a)]


def _result(curve: Curve, axis: str, until: float) -> float:
    """Mean of the last part of a curve up to ``until``."""
    where: list[float] = getattr(curve, axis)
    known = [value for place, value in zip(where, curve.values, strict=True) if place <= until] or curve.values[:1]
    return fmean(known[-max(round(LAST * len(known)), 1) :])


def _by_round(a: Curve, b: Curve) -> list[float]:
    """Differences in the last part of the rounds that both have."""
    length = min(len(a.values), len(b.values))
    first = length - max(round(LAST * length), 1)
    return [b.values[i] - a.values[i] for i in range(first, length)]


def _parting(outcome: str, a: Sequence[Outcome], b: Sequence[Outcome], until: float) -> float | None:
    """The round after the last one in which the sides' means were not in the order in which they end."""
    length = min(len(run.curves[outcome].values) for run in (*a, *b))
    gaps = [
        fmean(run.curves[outcome].values[i] for run in b) - fmean(run.curves[outcome].values[i] for run in a)
        for i in range(length)
    ]
    numbers = a[0].curves[outcome].numbers
    crossings = [i for i, gap in enumerate(gaps) if gap * gaps[-1] <= 0.0]
    start = crossings[-1] + 1 if crossings else 0
    return numbers[start] if start < length and numbers[start] <= until else None
