"""Many random lives of a run: ``python -m tests.lifecycle.campaign [SEQUENCES] [STEPS]``; ``make lifecycle``.

Prints what was done, or the shortest sequence that was found to go wrong. Exit status 1: one went wrong, or the right
state came too late.
"""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lifecycle.machine import RIGHT_WITHIN_S, TALLY, LifeOfARun

PROMPT_SHARE = 0.99
"""Share of the steps after which readers must be right within 5 s."""


def main() -> int:
    given = [int(text) for text in sys.argv[1:3]]
    sequences, steps = given + [50, 12][len(given) :]
    chosen = settings(
        max_examples=sequences,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    try:
        run_state_machine_as_test(LifeOfARun, settings=chosen)
    finally:
        print(TALLY.report(), flush=True)
    slow_s = TALLY.own_s(PROMPT_SHARE)
    if slow_s > RIGHT_WITHIN_S:
        print(f"{PROMPT_SHARE:.0%} took up to {slow_s:.2f} s, not {RIGHT_WITHIN_S:g} s", file=sys.stderr)
    return int(slow_s > RIGHT_WITHIN_S)


if __name__ == "__main__":
    sys.exit(main())
