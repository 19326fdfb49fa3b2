"""Trains with telemetry and dumps tensors beside it: ``[torchrun …] -m tests.trainer.captured_run FOLDER RUN``.

RUN is ``plain`` or ``distorted`` (rewards of the second round are 1000 too large). The tensors are caught around the
calls of :class:`~trainer.tamiyo.ppo.PPO` and of ``clip_grad_norm_``; nothing of the diagnostics is called or changed.
FOLDER/rank<N>.pt then holds, by batch, what the policy learned from and, by update and mini-batch, weights, rows and
gradients; FOLDER/telemetry/latest the log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import nn

import esper_otel
from trainer.distributed.process_group import joined
from trainer.interventions import Intervention
from trainer.recipes import RECIPES
from trainer.simic.chaos import Chaos
from trainer.simic.emission import Emitter
from trainer.simic.loop import Training
from trainer.tamiyo.ppo import PPO

RECIPE = replace(RECIPES["smoke"], envs=4, rounds=3, seed=7, diagnostics="high")
RUNS = {
    "plain": RECIPE,
    "distorted": replace(
        RECIPE, envs=2, rounds=2, interventions=(Intervention(kind="offset_rewards", rounds=(2,), strength=1000.0),)
    ),
}

Caught = dict[str, Any]


def weights_of(ppo: PPO) -> dict[str, torch.Tensor]:
    """A copy of the policy's weights and running norm."""
    return {name: tensor.detach().clone() for name, tensor in ppo.policy.state_dict().items()}


def around(owner: Any, name: str, hook: Callable[..., Any]) -> None:
    """Call ``hook(real, *arguments)`` in place of ``owner.name``."""
    real = getattr(owner, name)
    setattr(owner, name, wraps(real)(lambda *args, **kwargs: hook(real, *args, **kwargs)))


def catch(batches: list[Caught]) -> None:
    """Put every batch that is learned from into ``batches``."""

    def learn(real: Any, ppo: PPO, batch: Any, *rest: Any) -> Any:
        plain = {name: getattr(batch, name).clone() for name in ("observations", "rewards")}
        batches.append(
            {
                **plain,
                "slot_ops": batch.masks.slot_ops.clone(),
                "choices": {head: chosen.clone() for head, chosen in batch.choices.items()},
                "weights": weights_of(ppo),
                "updates": [],
            }
        )
        return real(ppo, batch, *rest)

    def update(real: Any, ppo: PPO, index: int, batch: Any, advantages: Any, entropy_coef: float, *rest: Any) -> Any:
        caught: Caught = {"before": weights_of(ppo), "steps": [], "entropy_coef": entropy_coef}
        batches[-1]["updates"].append(caught)
        result = real(ppo, index, batch, advantages, entropy_coef, *rest)
        caught["after"] = weights_of(ppo)
        return result

    def minibatch(real: Any, ppo: PPO, batch: Any, rows: torch.Tensor, *rest: Any) -> Any:
        batches[-1]["updates"][-1]["steps"].append({"rows": rows.clone(), "weights": weights_of(ppo)})
        names = {parameter: name for name, parameter in ppo.policy.named_parameters()}

        def clip(real_clip: Any, parameters: list[nn.Parameter], *limits: Any, **more: Any) -> Any:
            step = batches[-1]["updates"][-1]["steps"][-1]
            step["gradients"] = {
                names[p]: torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters
            }
            norm = real_clip(parameters, *limits, **more)
            step["clipped"] = {names[p]: torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters}
            return norm

        original = nn.utils.clip_grad_norm_
        around(nn.utils, "clip_grad_norm_", clip)
        try:
            return real(ppo, batch, rows, *rest)
        finally:
            nn.utils.clip_grad_norm_ = original

    around(PPO, "learn", learn)
    around(PPO, "_update", update)
    around(PPO, "_minibatch", minibatch)


def main(folder: Path, run: str) -> None:
    """Train this rank's share."""
    torch.set_num_threads(1)
    batches: list[Caught] = []
    catch(batches)
    recipe = RUNS[run]
    telemetry = esper_otel.configure(telemetry_dir=folder / "telemetry", run_id="captured", relay=False)
    with joined(torch.device("cpu")) as peers:
        training = Training(recipe, Emitter(), peers=peers, script=Chaos(recipe.interventions))
        training.run()
        envs = len(training.envs)
    esper_otel.shutdown("finished")
    rank = int(os.environ.get("RANK", "0"))
    facts = {"batches": batches, "settings": asdict(recipe.ppo), "envs": envs, "run_dir": str(telemetry.run_dir)}
    torch.save(facts, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
