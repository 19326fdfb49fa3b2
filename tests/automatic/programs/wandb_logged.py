"""A training that logs by wandb alone: ``wandb_logged.py OUT``."""

import json
import sys
from pathlib import Path

import torch
import wandb

torch.set_num_threads(1)
out = Path(sys.argv[1])
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run = wandb.init(project="p", config={"lr": 0.1})
for update in range(1, 4):
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    wandb.log({"losses/approx_kl": 0.01 * update, "losses/entropy": torch.tensor(0.6)}, step=128 * update)
    run.log({"losses/clipfrac": 0.125, "own": {"inner": update}, "a text": "no number"}, step=128 * update)
for row in range(2):
    wandb.log({"without a step": row})
run.finish()
out.with_name(f"{out.stem}.0.json").write_text(json.dumps([]))
