"""The training loop: rounds of episodes in parallel environments, each round followed by policy updates."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from trainer.distributed.peers import Alone, Peers
from trainer.recipes import Recipe
from trainer.seeding import derive_seed, generator, seeded_init
from trainer.simic import detectors
from trainer.simic.attribution import Matrix, Shapley, counterfactual_matrix, shapley_values
from trainer.simic.features import features
from trainer.simic.observer import CheckpointFile, EpisodeEnd, Observer, RoundEnd, Silent, Start, Step
from trainer.simic.rewards import RewardInputs, SlotView, compute_reward
from trainer.simic.script import Script, Undisturbed
from trainer.simic.tally import RoundTally
from trainer.simic.watch import UpdateWatch
from trainer.tamiyo.actions import HEADS, Action
from trainer.tamiyo.observation import observation_health
from trainer.tamiyo.policy import Drawn, Masks, Policy
from trainer.tamiyo.ppo import PPO
from trainer.tamiyo.readback import read
from trainer.tamiyo.rollout import Rollout
from trainer.tolaria.data import Digits
from trainer.tolaria.environment import Environment
from trainer.tolaria.phases import PhaseClock, PhaseTime, add_phases
from trainer.tolaria.training import warm_host
from trainer.tolaria.weights import digest

ROLLING_ROUNDS: Final = 10
"""Rounds in the rolling accuracy."""

HEALTH_EVERY: Final = 4
"""Epochs between two looks at the observations' health."""

Chooser = Callable[[Policy, torch.Tensor, Masks, torch.Generator], Drawn]


def sample(policy: Policy, observations: torch.Tensor, masks: Masks, stream: torch.Generator) -> Drawn:
    """Draw actions from the policy."""
    return policy.act(observations, masks, stream)


class Training:
    """One run, or one arm of it. Everything random follows from the recipe's seed; the observer changes nothing.

    Between two rounds its whole state is the policy, the optimiser, two random streams, and a few numbers: hosts are
    built anew for every episode, from the seed and the episode's number.
    """

    def __init__(
        self,
        recipe: Recipe,
        observer: Observer | None = None,
        choose: Chooser = sample,
        peers: Peers | None = None,
        script: Script | None = None,
    ) -> None:
        self.recipe = recipe
        self.peers: Peers = peers or Alone()
        self.observer: Observer = observer or Silent()
        self.choose = choose
        self.device = torch.device(recipe.device)
        settings = recipe.environment
        data = Digits.load(self.device)
        share = recipe.envs // self.peers.world_size
        own = range(self.peers.rank * share, (self.peers.rank + 1) * share)
        self.envs = [Environment(i, settings, data, self.device, recipe.tiers) for i in own]
        self.slot_ids = self.envs[0].slot_ids
        self.warm = [
            warm_host(settings.host, data, self.device, derive_seed(recipe.seed, "warm host", i))
            for i in range(recipe.warm_hosts)
        ]
        with seeded_init(derive_seed(recipe.seed, "policy")):
            policy = Policy(self.slot_ids)
        self.policy = policy.to(self.device)
        self.ppo = PPO(self.policy, recipe.ppo, recipe.seed, self.peers)
        self.stream = generator(derive_seed(recipe.seed, "actions", self.peers.rank), self.device)
        self.watch = UpdateWatch()
        self.script: Script = script or Undisturbed()
        self.accuracies: deque[float] = deque(maxlen=ROLLING_ROUNDS)
        self.rounds_done = 0
        self.history: list[RoundEnd] = []

    def run(self, after_round: Callable[[RoundEnd], None] = lambda end: None) -> None:
        """Train the remaining rounds; ``after_round`` is called after each."""
        self.begin()
        while not self.is_done:
            after_round(self.advance())

    def begin(self, resumed_from: CheckpointFile | None = None) -> None:
        """Announce the run; ``resumed_from`` is the checkpoint of its state, if any."""
        self._reset_envs()
        if resumed_from is not None:
            self.observer.checkpoint_loaded(resumed_from)
        self.observer.run_started(
            Start(
                recipe=self.recipe,
                host_params=self.envs[0].host.parameter_count,
                slot_ids=self.slot_ids,
                rank=self.peers.rank,
                local_rank=self.peers.local_rank,
                world_size=self.peers.world_size,
                start_episode=self.rounds_done * self.recipe.envs,
                resume_path=None if resumed_from is None else str(Path(resumed_from.path).parent),
            )
        )

    def advance(self) -> RoundEnd:
        """Train one round. Afterwards all ranks have the same policy, which is checked."""
        end = self.round(learn=True)
        self.rounds_done = end.batch
        self.history.append(end)
        if self.peers.world_size > 1:
            self.peers.check_equal(digest(self.policy.state_dict()), f"policies after round {end.batch}")
        return end

    @property
    def is_done(self) -> bool:
        """True if all rounds were trained."""
        return self.rounds_done >= self.recipe.rounds

    def _reset_envs(self) -> None:
        first = self.rounds_done * self.recipe.envs
        for env in self.envs:
            episode = first + env.env_id
            env.reset(episode, self.recipe.seed, self.warm[episode % len(self.warm)])

    def round(self, learn: bool) -> RoundEnd:
        """One batch of episodes and, if ``learn``, the policy updates after it."""
        start = time.perf_counter()
        batch_idx = self.rounds_done + 1
        self.observer.round_started(batch_idx)
        self._reset_envs()
        self.script.round_begins(batch_idx, self.policy)
        rollout, tally = Rollout(), RoundTally.empty()
        rewards: list[list[float]] = [[] for _ in self.envs]
        for epoch in range(1, self.recipe.environment.episode_length + 1):
            self.script.epoch_begins(batch_idx, epoch, self.envs)
            self._epoch(batch_idx, epoch, rollout, tally, rewards)
        for env, earned in zip(self.envs, rewards, strict=True):
            self.observer.episode_finished(batch_idx, self._finish_episode(env, earned, tally))
        rollout_s = time.perf_counter() - start
        clock = PhaseClock()
        self.script.distort(batch_idx, rollout)
        batch = rollout.finish(self.recipe.ppo.gamma, self.recipe.ppo.gae_lambda)
        with clock.phase("ppo_update"):
            progress = self.rounds_done / max(1, self.recipe.rounds - 1)
            depth = self.recipe.tiers.at(batch_idx)
            report = self.ppo.learn(batch, progress, depth) if learn else self.ppo.nothing_learned()
            if learn:
                # Only now: within the updates old and new policy have to see the same inputs.
                self.policy.norm.absorb(self.peers.gather(batch.observations))
        before = detectors.rolling_mean(self.accuracies)
        accuracy = detectors.rolling_mean(env.val_accuracy for env in self.envs) or 0.0
        self.accuracies.append(accuracy)
        now = detectors.rolling_mean(self.accuracies) or 0.0
        end = RoundEnd(
            batch=batch_idx,
            episodes_completed=batch_idx * self.recipe.envs,
            total_episodes=self.recipe.total_episodes,
            accuracies=tuple(env.val_accuracy for env in self.envs),
            rewards=tuple(sum(earned) for earned in rewards),
            rolling_accuracy=now,
            rolling_before=before,
            learn=report,
            anomalies=self.watch.inspect(report),
            trend=detectors.trend(now, before),
            drop_percent=detectors.performance_drop(accuracy, before),
            op_counts=dict(tally.ops),
            op_successes=dict(tally.successes),
            reward_sums=dict(tally.reward_sums),
            seeds_created=tally.created,
            seeds_fossilized=tally.fossilized,
            rollbacks=tally.rollbacks,
            duration_s=time.perf_counter() - start,
            rollout_s=rollout_s,
            learn_phase=clock.take()["ppo_update"],
            phases=tally.phases,
            mask_hits={head: tally.mask_hits[head] for head in HEADS},
            mask_total={head: len(batch) for head in HEADS},
        )
        self.observer.round_finished(end)
        return end

    def _epoch(
        self, batch_idx: int, epoch: int, rollout: Rollout, tally: RoundTally, rewards: list[list[float]]
    ) -> None:
        clock = PhaseClock()
        with clock.phase("rollout"):
            raw = [features(env) for env in self.envs]
            observations = torch.tensor(raw, device=self.device)
            allowed = [env.slot_ops() for env in self.envs]
            masks = Masks(slot_ops=torch.tensor(allowed, device=self.device))
            drawn = self.choose(self.policy, observations, masks, self.stream)
            actions = drawn.actions()
        phases: dict[str, PhaseTime] = {}
        earned: list[float] = []
        for row, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            step = self._step(env, action, batch_idx, drawn, row, raw[row])
            tally.add(step.outcome, step.reward.components)
            add_phases(phases, step.outcome.phases)
            rewards[row].append(step.reward.total)
            earned.append(step.reward.total)
            self.observer.step_finished(batch_idx, step)
        rollout.add(observations, masks, drawn, torch.tensor(earned, device=self.device))
        self._count_masks(allowed, actions, tally)
        add_phases(phases, clock.take())
        health = {}
        if epoch % HEALTH_EVERY == 0:
            health = read(observation_health(observations, self.policy.norm, self.policy.layout))
        self.observer.epoch_finished(batch_idx, epoch, phases, health)

    def _step(
        self, env: Environment, action: Action, batch_idx: int, drawn: Drawn, row: int, observation: list[float]
    ) -> Step:
        outcome = env.step(action, batch_idx)
        inputs = RewardInputs(
            op=action.op,
            succeeded=outcome.succeeded,
            rolled_back=outcome.panic is not None,
            alpha_shock=outcome.alpha_shock,
            growth_ratio=env.host.seed_parameter_count / env.host.parameter_count,
            slots=tuple(
                SlotView(stage=life.stage, contribution=None if life.record is None else life.record.contribution)
                for life in env.lives.values()
            ),
            stages_before=tuple(outcome.stages_before.values()),
            is_last=env.is_done,
            accuracy=env.val_accuracy,
            baseline=env.accuracy_at_stability,
            gamma=self.recipe.ppo.gamma,
        )
        reward = compute_reward(self.recipe.reward_mode, inputs)
        return Step(
            env=env, outcome=outcome, drawn=drawn, row=row, reward=reward, inputs=inputs, observation=observation
        )

    def _finish_episode(self, env: Environment, earned: list[float], tally: RoundTally) -> EpisodeEnd:
        blended = tuple(slot_id for slot_id, life in env.lives.items() if life.slot.alpha > 0.0)
        matrix: Matrix | None = None
        shapley: dict[str, Shapley] = {}
        if blended:
            with env.clock.phase("counterfactual"):
                matrix = counterfactual_matrix(blended, env.trainer.accuracy_of)
            if matrix.strategy == "full_factorial":
                shapley = shapley_values(matrix)
            add_phases(tally.phases, env.clock.take())
        return EpisodeEnd(env=env, rewards=earned, op_counts=dict(env.op_counts), matrix=matrix, shapley=shapley)

    def _count_masks(self, slot_ops: list[list[tuple[bool, ...]]], actions: list[Action], tally: RoundTally) -> None:
        for allowed, action in zip(slot_ops, actions, strict=True):
            tally.mask_hits["op"] += sum(any(column) for column in zip(*allowed, strict=True)) <= 1
            tally.mask_hits["slot"] += sum(row[action.op] for row in allowed) <= 1
