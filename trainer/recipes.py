"""Recipes: named runs. A run is a recipe, with a few of its numbers replaced on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from trainer.interventions import Intervention
from trainer.tamiyo.ppo import PPOSettings
from trainer.tiers import Tiers
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
        device: device of hosts and policy: ``cpu``, ``cuda``, ``cuda:1`` …
        threads: threads of torch on the CPU.
        reward_mode: shaped or sparse.
        warm_hosts: different warmed-up hosts that episodes start from in turn.
        snapshot_every: rounds between two infrastructure snapshots.
        diagnostics: off, low, medium or high; see :mod:`trainer.tiers`.
        diagnostics_every: rounds between two close looks at level medium.
        memory_budget_gb: memory in GiB that the process may use before it warns; None takes the machine's.
        interventions: faults injected on purpose, in no order.
        environment: settings of an environment.
        ppo: settings of the policy's learning.
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
    diagnostics: str = "medium"
    diagnostics_every: int = 5
    memory_budget_gb: float | None = None
    interventions: tuple[Intervention, ...] = ()
    environment: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    ppo: PPOSettings = field(default_factory=PPOSettings)

    @property
    def total_episodes(self) -> int:
        """Episodes planned."""
        return self.rounds * self.envs

    @property
    def tiers(self) -> Tiers:
        """Schedule of the diagnostics."""
        return Tiers(level=self.diagnostics, every=self.diagnostics_every)


RECIPES: Final[dict[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="smoke", rounds=3, envs=2, warm_hosts=1, environment=EnvironmentSettings(episode_length=14)),
        Recipe(name="demo", rounds=30, envs=4),
        Recipe(
            name="chaos",
            rounds=20,
            envs=2,
            warm_hosts=1,
            memory_budget_gb=1.0,
            diagnostics_every=1,
            environment=EnvironmentSettings(
                # A host that has learned for a while has something to lose.
                host=HostSettings(batches_per_epoch=3, lr=0.01, warmup_epochs=40),
                episode_length=24,
            ),
            ppo=PPOSettings(lr=2e-3, clip=0.2, entropy_coef=0.02, updates=4, minibatches=4, target_kl=0.08),
            interventions=(
                # Up after the first, down at the second; the first leaves the rolling mean when the third enters it.
                Intervention(kind="wiped_head", rounds=(1, 4, 11)),
                Intervention(kind="poisoned_reward", rounds=(3,)),
                Intervention(kind="nan_weights", rounds=(4,), epoch=8, env_id=0),
                Intervention(kind="hostage", rounds=(5, 6, 7), margin=1.0),
                Intervention(kind="hostage", rounds=(8, 9, 10), margin=-4.0),
                Intervention(kind="offset_rewards", rounds=(13,), strength=1000.0),
                Intervention(kind="stale_log_probs", rounds=(14, 15), strength=100.0),
                Intervention(kind="stuck_policy", rounds=(16,), strength=50.0),
                Intervention(kind="memory_leak", rounds=(19,), strength=1.0),
            ),
        ),
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
"""Every recipe by name: smoke takes seconds, demo a minute or so on one core, gpu needs an accelerator; chaos breaks
things on purpose, in half a minute."""
