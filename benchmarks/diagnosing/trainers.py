"""The trainer of this repository, healthy or with one fault: an intervention of the chaos recipe, or a bad setting.

python -m benchmarks.diagnosing.trainers FAULT [options of python -m trainer]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from trainer import __main__ as program
from trainer.interventions import Intervention
from trainer.recipes import RECIPES, Recipe
from trainer.tamiyo.policy import Policy
from trainer.tamiyo.ppo import PPOSettings
from trainer.tolaria.environment import EnvironmentSettings

BASE: Final = Recipe(
    name="case",
    rounds=6,
    envs=2,
    warm_hosts=1,
    diagnostics_every=1,
    environment=EnvironmentSettings(episode_length=14),
)

_CHAOS: Final = {
    "wiped_head": (Intervention(kind="wiped_head", rounds=(4, 6)),),
    "poisoned_reward": (Intervention(kind="poisoned_reward", rounds=(5,)),),
    "nan_weights": (Intervention(kind="nan_weights", rounds=(5,), epoch=8, env_id=0),),
    "hostage": (Intervention(kind="hostage", rounds=(4, 5), margin=1.0),),
    "hostage_losing": (Intervention(kind="hostage", rounds=(4, 5), margin=-4.0),),
    "offset_rewards": (Intervention(kind="offset_rewards", rounds=(5,), strength=1000.0),),
    "stale_log_probs": (Intervention(kind="stale_log_probs", rounds=(4, 5), strength=100.0),),
    "stuck_policy": (Intervention(kind="stuck_policy", rounds=(4,), strength=50.0),),
    "memory_leak": (Intervention(kind="memory_leak", rounds=(6,), strength=1.0),),
}
_SETTINGS: Final = {
    "lr_x30": PPOSettings(lr=6e-2),
    "frozen_critic": PPOSettings(value_coef=0.0),
    "entropy_sign": PPOSettings(entropy_coef=-1.0, entropy_coef_end=-1.0),
}


def _dead_head() -> None:
    """One head of the policy is deaf and never learns: its blueprint is always the same."""
    before = Policy.__init__

    def broken(policy: Policy, *arguments: Any, **options: Any) -> None:
        before(policy, *arguments, **options)
        head = policy.heads["blueprint"]
        with torch.no_grad():
            head.get_parameter("weight").zero_()
            head.get_parameter("bias").zero_()
            head.get_parameter("bias")[0] = 60.0

    Policy.__init__ = broken  # type: ignore[method-assign, assignment]  # the fault


_PATCHES: Final[dict[str, Callable[[], None]]] = {"dead_head": _dead_head}
FAULTS: Final = ("none", *_CHAOS, *_SETTINGS, *_PATCHES)


def main() -> int:
    """Train once."""
    fault, *options = sys.argv[1:]
    recipe = replace(BASE, interventions=_CHAOS.get(fault, ()), ppo=_SETTINGS.get(fault, BASE.ppo))
    if fault == "memory_leak":
        recipe = replace(recipe, memory_budget_gb=1.0)
    _PATCHES.get(fault, lambda: None)()
    RECIPES["case"] = recipe
    return program.main(["--recipe", "case", *options])


if __name__ == "__main__":
    sys.exit(main())
