"""PPO in one file, with the tags for TensorBoard that CleanRL's programs have: ``cleanrl_ppo.py OUT``."""

import sys
import time
from pathlib import Path

import gymnasium
import numpy
import spy
import torch
from torch import nn, optim
from torch.distributions import Categorical
from torch.utils.tensorboard import SummaryWriter

SEED, ENVS, STEPS, EPOCHS, MINIBATCHES, ITERATIONS = 1, 4, 32, 2, 4, 8
LR, GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, MAX_GRAD_NORM = 2.5e-4, 0.99, 0.95, 0.2, 0.01, 0.5, 0.5
BATCH = ENVS * STEPS


def environment():
    return gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))


def layer(inputs, outputs, std=2**0.5):
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, std)
    nn.init.zeros_(made.bias)
    return made


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(layer(4, 32), nn.Tanh(), layer(32, 32), nn.Tanh(), layer(32, 1, 1.0))
        self.actor = nn.Sequential(layer(4, 32), nn.Tanh(), layer(32, 32), nn.Tanh(), layer(32, 2, 0.01))

    def value(self, obs):
        return self.critic(obs).flatten()

    def act(self, obs, action=None):
        policy = Categorical(logits=self.actor(obs))
        action = policy.sample() if action is None else action
        return action, policy.log_prob(action), policy.entropy(), self.value(obs)


def log_episodes(writer, infos, step):
    for number, done in enumerate(infos.get("_episode", ())):
        if done:
            writer.add_scalar("charts/episodic_return", infos["episode"]["r"][number], step)
            writer.add_scalar("charts/episodic_length", infos["episode"]["l"][number], step)


if __name__ == "__main__":
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)
    writer = SummaryWriter(str(Path(sys.argv[1]).parent / "runs"))
    envs = gymnasium.vector.SyncVectorEnv([environment] * ENVS)
    agent = Agent()
    optimizer = optim.Adam(agent.parameters(), lr=LR, eps=1e-5)
    obs, actions = torch.zeros(STEPS, ENVS, 4), torch.zeros(STEPS, ENVS, dtype=torch.long)
    logprobs, rewards, dones, values = (torch.zeros(STEPS, ENVS) for _ in range(4))
    seen, _ = envs.reset(seed=SEED)
    observed, ended, step, began = torch.Tensor(seen), torch.zeros(ENVS), 0, time.time()
    for iteration in range(ITERATIONS):
        optimizer.param_groups[0]["lr"] = LR * (1 - iteration / ITERATIONS)
        for t in range(STEPS):
            step += ENVS
            obs[t], dones[t] = observed, ended
            with torch.no_grad():
                actions[t], logprobs[t], _, values[t] = agent.act(observed)
            seen, reward, terminated, truncated, infos = envs.step(actions[t].numpy())
            rewards[t] = torch.as_tensor(reward)
            observed, ended = torch.Tensor(seen), torch.Tensor(terminated | truncated)
            log_episodes(writer, infos, step)
        with torch.no_grad():
            following, carry = agent.value(observed), torch.zeros(ENVS)
            advantages = torch.zeros_like(rewards)
            for t in reversed(range(STEPS)):
                left = 1 - (ended if t == STEPS - 1 else dones[t + 1])
                delta = rewards[t] + GAMMA * left * following - values[t]
                advantages[t] = carry = delta + GAMMA * LAMBDA * left * carry
                following = values[t]
        returns = (advantages + values).flatten()
        flat = obs.flatten(0, 1), actions.flatten(), logprobs.flatten(), advantages.flatten()
        fractions = []
        for _ in range(EPOCHS):
            for chosen in torch.randperm(BATCH).chunk(MINIBATCHES):
                o, a, old, advantage = (part[chosen] for part in flat)
                _, new, entropy, value = agent.act(o, a)
                logratio = new - old
                ratio = logratio.exp()
                with torch.no_grad():
                    old_kl, kl = (-logratio).mean(), (ratio - 1 - logratio).mean()
                    fractions.append(((ratio - 1).abs() > CLIP).float().mean().item())
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                value_loss = 0.5 * (value - returns[chosen]).square().mean()
                loss = policy_loss - ENTROPY * entropy.mean() + VALUE * value_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), MAX_GRAD_NORM)
                optimizer.step()
        spread = returns.var()
        explained = float("nan") if spread == 0 else (1 - (returns - values.flatten()).var() / spread).item()
        writer.add_scalar("charts/learning_rate", optimizer.param_groups[0]["lr"], step)
        writer.add_scalar("losses/value_loss", value_loss.item(), step)
        writer.add_scalar("losses/policy_loss", policy_loss.item(), step)
        writer.add_scalar("losses/entropy", entropy.mean().item(), step)
        writer.add_scalar("losses/old_approx_kl", old_kl.item(), step)
        writer.add_scalar("losses/approx_kl", kl.item(), step)
        writer.add_scalar("losses/clipfrac", numpy.mean(fractions), step)
        writer.add_scalar("losses/explained_variance", explained, step)
        writer.add_scalar("charts/SPS", int(step / (time.time() - began)), step)
    envs.close()
    writer.close()
    spy.write(sys.argv[1], agent)
