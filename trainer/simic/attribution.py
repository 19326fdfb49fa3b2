"""Credit for accuracy: hosts evaluated with subsets of their seeds, and Shapley values from those."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_EXACT: Final = 3
"""Slots up to which every subset is evaluated: 8 validations. Beyond, only each slot's absence is."""

Coalition = frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Validation accuracy in percent by the set of slots that were on."""

    slot_ids: tuple[str, ...]
    accuracies: dict[Coalition, float]
    strategy: str
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Shapley:
    """Shapley value of a slot in percentage points; exact, from ``n_samples`` marginal contributions.

    ``interaction_spread`` is the standard deviation of those contributions under the value's weights: how much a
    slot's worth depends on which others are on. It is no error of the value, and 0 for a slot that is alone.
    """

    mean: float
    interaction_spread: float
    n_samples: int


def counterfactual_matrix(slot_ids: tuple[str, ...], accuracy_of: Callable[[dict[str, bool]], float]) -> Matrix:
    """Evaluate the host with subsets of ``slot_ids`` on, by really running it.

    ``accuracy_of`` takes a switch per slot and returns the validation accuracy in percent.
    """
    start = time.perf_counter()
    exact = len(slot_ids) <= MAX_EXACT
    sizes = range(len(slot_ids) + 1) if exact else (0, len(slot_ids) - 1, len(slot_ids))
    accuracies = {
        frozenset(chosen): accuracy_of({slot_id: slot_id in chosen for slot_id in slot_ids})
        for size in sizes
        for chosen in itertools.combinations(slot_ids, size)
    }
    return Matrix(
        slot_ids=slot_ids,
        accuracies=accuracies,
        strategy="full_factorial" if exact else "ablation_only",
        duration_s=time.perf_counter() - start,
    )


def shapley_values(matrix: Matrix) -> dict[str, Shapley]:
    """Exact Shapley values (Shapley 1953): phi_i = sum over S without i of |S|! (n-|S|-1)! / n! (v(S+i) - v(S)).

    They add up to v(all) - v(none).

    Raises:
        ValueError: the matrix lacks a subset.
    """
    n = len(matrix.slot_ids)
    if len(matrix.accuracies) != 2**n:
        raise ValueError(
            f"exact Shapley values of {n} slots need {2**n} subsets, the matrix has {len(matrix.accuracies)}"
        )
    return {slot_id: _shapley_of(slot_id, matrix) for slot_id in matrix.slot_ids}


def _shapley_of(slot_id: str, matrix: Matrix) -> Shapley:
    n = len(matrix.slot_ids)
    weighted = [
        (
            math.factorial(len(without)) * math.factorial(n - len(without) - 1) / math.factorial(n),
            matrix.accuracies[without | {slot_id}] - value,
        )
        for without, value in matrix.accuracies.items()
        if slot_id not in without
    ]
    mean = math.fsum(weight * gain for weight, gain in weighted)
    variance = math.fsum(weight * (gain - mean) ** 2 for weight, gain in weighted)
    return Shapley(mean=mean, interaction_spread=math.sqrt(variance), n_samples=len(weighted))
