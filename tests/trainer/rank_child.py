"""What a rank of the distributed tests does: ``torchrun … rank_child.py FOLDER`` leaves FOLDER/rank<N>.json."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.trainer.test_policy import SLOTS, some_batch
from trainer.distributed.peers import Alone, PeerLostError, Peers, PeersDifferError
from trainer.distributed.process_group import joined
from trainer.recipes import RECIPES
from trainer.simic.loop import Training
from trainer.tamiyo.actions import HEADS
from trainer.tamiyo.policy import Masks, Policy
from trainer.tamiyo.ppo import PPO, PPOSettings
from trainer.tolaria.environment import EnvironmentSettings
from trainer.tolaria.weights import digest

ONE_STEP = PPOSettings(updates=1, minibatches=1)


def averages(peers: Peers) -> dict[str, object]:
    """Rank r has the gradient r + 1 in one parameter, and in the other one only on rank 1."""
    first, second = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(1))
    first.grad = torch.full((2, 3), peers.rank + 1.0)
    second.grad = torch.tensor([4.0]) if peers.rank == 1 else None
    loss = peers.average_gradients([first, second], torch.tensor(10.0 * peers.rank))
    return {"loss": loss.item(), "first": first.grad.flatten().tolist(), "second": second.grad.tolist()}


def bad_loss(peers: Peers) -> str:
    """One rank's loss is NaN."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    return str(peers.average_gradients([parameter], torch.tensor(float("nan") if peers.rank else 1.0)).item())


def step(peers: Peers) -> dict[str, object]:
    """One policy update on half of a rollout with peers, and on all of it alone."""
    torch.manual_seed(0)
    policies = [Policy(SLOTS), Policy(SLOTS)]
    policies[1].load_state_dict(policies[0].state_dict())
    whole = some_batch(policies[0], steps=20, envs=2)
    rows = torch.arange(len(whole)).view(20, 2)[:, peers.rank]
    tensors = ("observations", "values", "rewards", "advantages", "returns", "td_errors")
    half = replace(
        whole,
        **{name: getattr(whole, name)[rows] for name in tensors},
        masks=Masks(slot_ops=whole.masks.slot_ops[rows]),
        choices={head: whole.choices[head][rows] for head in HEADS},
        log_probs={head: whole.log_probs[head][rows] for head in HEADS},
    )
    reports = [
        PPO(policies[0], ONE_STEP, 0, peers).learn(half, 0.0),
        PPO(policies[1], ONE_STEP, 0, Alone()).learn(whole, 0.0),
    ]
    pairs = zip(policies[0].parameters(), policies[1].parameters(), strict=True)
    return {
        "difference": max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs),
        "norms": [report.updates[0].values["pre_clip_grad_norm"] for report in reports],
    }


def train(peers: Peers) -> dict[str, object]:
    """Two short rounds."""
    recipe = replace(
        RECIPES["smoke"], rounds=2, envs=4, warm_hosts=1, environment=EnvironmentSettings(episode_length=6)
    )
    training = Training(recipe, peers=peers)
    training.run()
    return {
        "policy": digest(training.policy.state_dict()),
        "envs": [env.env_id for env in training.envs],
        "episodes": [env.episode_idx for env in training.envs],
        "rewards": [list(end.rewards) for end in training.history],
        "norms": [u.values["pre_clip_grad_norm"] for end in training.history for u in end.learn.updates],
        "batch": training.history[-1].episodes_completed,
    }


def disagree(peers: Peers) -> str:
    """The ranks hold different weights."""
    try:
        peers.check_equal(digest({"w": torch.tensor([float(peers.rank)])}), "policies")
    except PeersDifferError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Do everything and, on rank 0, find out that rank 1 has gone."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as peers:
        found = {
            "averages": averages(peers),
            "bad_loss": bad_loss(peers),
            "gathered": peers.gather(torch.tensor([[peers.rank, 10 * peers.rank]])).tolist(),
            "mean": peers.mean(float(peers.rank)),
            "step": step(peers),
            "train": train(peers),
            "disagree": disagree(peers),
        }
        if peers.rank == 0:
            try:
                for _ in range(3):
                    peers.mean(1.0)
            except PeerLostError as error:
                found["lost"] = str(error)
        (folder / f"rank{peers.rank}.json").write_text(json.dumps(found))
        if peers.rank == 0:
            os._exit(0)  # gloo's threads sometimes abort a process whose peer has gone; what counts is written


if __name__ == "__main__":
    main(Path(sys.argv[1]))
