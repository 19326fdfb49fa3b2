"""The chaos recipe with one of its faults alone, or with none, so that what is marked has one cause.

python -m benchmarks.calibrating.one_fault FAULT [options of python -m trainer]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Final

from trainer import __main__ as program
from trainer.interventions import Intervention
from trainer.recipes import RECIPES

CONTROL: Final = "none"
CHAOS: Final = RECIPES["chaos"]
FIRST: Final = 3
"""Round of a fault; the recipe puts them one after the other, and what came before would count for nothing here."""

AFTER: Final = 2
"""Rounds after a fault: a spoiled policy acts in the next rollout, and is updated from it."""

LASTING: Final = frozenset({"offset_rewards", "stale_log_probs", "stuck_policy"})
"""Faults whose alerts hold for 10 min; a round is stretched to two."""

LONG_AFTER: Final = 7


def name_of(one: Intervention) -> str:
    """Name of a fault: its kind; a host that gains and one that loses are two."""
    if not one.margin:
        return one.kind
    return f"{one.kind}-that-{'gains' if one.margin > 0 else 'loses'}"


def _moved(one: Intervention) -> Intervention:
    """The same fault from round ``FIRST`` on; trends need the rounds that the recipe gives them."""
    later = 0 if one.kind == "wiped_head" else FIRST - min(one.rounds)
    return replace(one, rounds=tuple(number + later for number in one.rounds))


FAULTS: Final[dict[str, Intervention]] = {name_of(one): _moved(one) for one in CHAOS.interventions}
"""Every fault of the recipe by name."""


def faults_of(run: str) -> dict[str, Intervention]:
    """Faults of the run of that name: the one it is named after, or all of the recipe."""
    if run in FAULTS:
        return {run: FAULTS[run]}
    return {f"{name_of(one)} ({run})": one for one in CHAOS.interventions}


def main() -> int:
    """Train once."""
    fault, *options = sys.argv[1:]
    if fault not in (CONTROL, *FAULTS):
        raise SystemExit(f"fault {fault!r} is not one of {', '.join((CONTROL, *FAULTS))}")
    one = FAULTS.get(fault)
    rounds = max(one.rounds) + (LONG_AFTER if fault in LASTING else AFTER) if one else CHAOS.rounds
    RECIPES["one-fault"] = replace(CHAOS, name="one-fault", rounds=rounds, interventions=(one,) if one else ())
    return program.main(["--recipe", "one-fault", *options])


if __name__ == "__main__":
    sys.exit(main())
