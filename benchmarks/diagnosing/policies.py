"""Stable-Baselines3, unchanged, healthy or with one fault.

esper-otel run -m benchmarks.diagnosing.policies FAULT --algorithm PPO --task CartPole-v1 --seed 1
"""

from __future__ import annotations

import argparse
from typing import Any, Final

import gymnasium
import stable_baselines3
import torch

FAULTS: Final = ("none", "lr_x30", "entropy_sign", "frozen_critic", "nan_reward", "constant_reward", "huge_reward")
HIT_AT: Final = 2500
"""Environment steps after which a reward turns NaN."""


class Rewards(gymnasium.Wrapper):  # type: ignore[misc]  # it has no types
    """An environment whose rewards have the fault."""

    def __init__(self, env: Any, fault: str) -> None:
        """Around ``env``."""
        super().__init__(env)
        self.fault, self.steps = fault, 0

    def step(self, action: Any) -> Any:
        """One step."""
        observation, reward, is_over, is_cut, info = self.env.step(action)
        self.steps += 1
        if self.fault == "nan_reward" and self.steps > HIT_AT:
            reward = float("nan")
        if self.fault == "constant_reward":
            reward = 0.0
        if self.fault == "huge_reward" and self.steps > HIT_AT:
            reward = float(reward) * 1e4
        return observation, reward, is_over, is_cut, info


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--algorithm", default="PPO", choices=("PPO", "A2C"))
    parser.add_argument("--task", default="CartPole-v1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5120)
    options = parser.parse_args()
    torch.set_num_threads(1)
    is_ppo = options.algorithm == "PPO"
    settings: dict[str, Any] = {"n_steps": 128, "batch_size": 64, "n_epochs": 8} if is_ppo else {"n_steps": 16}
    rate = 1e-3
    model = getattr(stable_baselines3, options.algorithm)(
        "MlpPolicy",
        Rewards(gymnasium.make(options.task), options.fault),
        learning_rate=rate * (30 if options.fault == "lr_x30" else 1),
        ent_coef=-0.5 if options.fault == "entropy_sign" else 0.01,
        seed=options.seed,
        device="cpu",
        **settings,
    )
    if options.fault == "frozen_critic":
        for module in (model.policy.mlp_extractor.value_net, model.policy.value_net):
            for parameter in module.parameters():
                parameter.requires_grad_(False)
    model.learn(options.steps)


if __name__ == "__main__":
    main()
