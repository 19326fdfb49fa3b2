"""Recipes: named runs. A run is a recipe, with a few of its numbers replaced on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from trainer.tamiyo.ppo import PPOSettings
from trainer.tolaria.environment import EnvironmentSettings
from trainer.tolaria.training import HostSettings


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run.

    Attributes:
        name: name of the recipe.
        rounds: batches of episodes, each followed by policy updates.
        envs: environments side by side.
        seed: random seed of everything.
        device: where hosts and policy live: ``cpu``, ``cuda``, ``cuda:1`` …
        threads: threads of torch on the CPU.
        reward_mode: shaped or sparse.
        warm_hosts: different warmed-up hosts that episodes start from in turn.
        snapshot_every: rounds between two infrastructure snapshots.
        environment: what an environment is.
        ppo: how the policy learns.
    """

    name: str
    rounds: int
    envs: int
    seed: int = 42
    device: str = "cpu"
    threads: int = 1
    reward_mode: str = "shaped"
    warm_hosts: int = 4
    snapshot_every: int = 5
    environment: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    ppo: PPOSettings = field(default_factory=PPOSettings)

    @property
    def total_episodes(self) -> int:
        """Episodes planned."""
        return self.rounds * self.envs


RECIPES: Final[dict[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="smoke", rounds=3, envs=2, warm_hosts=1, environment=EnvironmentSettings(episode_length=14)),
        Recipe(name="demo", rounds=36, envs=4),
        Recipe(
            name="gpu",
            rounds=60,
            envs=8,
            device="cuda",
            environment=EnvironmentSettings(
                host=HostSettings(channels=32, batches_per_epoch=8, batch_size=128), param_budget=120_000
            ),
        ),
    )
}
"""Every recipe by name: smoke takes seconds, demo a minute or so on one core, gpu needs an accelerator."""
