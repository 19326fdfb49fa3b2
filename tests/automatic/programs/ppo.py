"""PPO in one file on a small task, as such files are written. Its own account of the norms goes to a JSON file."""

import json
import sys
from pathlib import Path

import torch
from torch import nn, optim
from torch.distributions.categorical import Categorical


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1))
        self.actor = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 2))

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x).squeeze(-1)


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    agent = Agent()
    optimizer = optim.Adam(agent.parameters(), lr=2.5e-3, eps=1e-5)
    norms, left, losses = [], [], []
    for iteration in range(1, 9):
        optimizer.param_groups[0]["lr"] = 2.5e-3 * (1 - (iteration - 1) / 8)
        obs = torch.randn(64, 3)
        with torch.no_grad():
            actions, logprobs, _, values = agent.get_action_and_value(obs)
        rewards = torch.where(actions == (obs.sum(1) > 0).long(), 10.0, -10.0)
        advantages = rewards - values
        for _ in range(2):
            order = torch.randperm(64)
            for start in range(0, 64, 16):
                mb = order[start : start + 16]
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(obs[mb], actions[mb])
                ratio = (newlogprob - logprobs[mb]).exp()
                pg_loss = torch.max(-advantages[mb] * ratio, -advantages[mb] * ratio.clamp(0.8, 1.2)).mean()
                loss = pg_loss - 0.01 * entropy.mean() + 0.5 * (newvalue - rewards[mb]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                norms.append(nn.utils.clip_grad_norm_(agent.parameters(), 0.5).item())
                left.append(sum(p.grad.square().sum() for p in agent.parameters()).sqrt().item())
                losses.append(loss.item())
                optimizer.step()
    weights = [p.tolist() for p in agent.parameters()]
    Path(sys.argv[1]).write_text(json.dumps({"norms": norms, "left": left, "losses": losses, "weights": weights}))
