"""A training that logs for TensorBoard as CleanRL's programs do: ``tb_ppo.py OUT WRITER [many]``."""

import importlib
import json
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
out = Path(sys.argv[1])
writer = importlib.import_module(sys.argv[2]).SummaryWriter(str(out.parent / "tb"))
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
told = []
for update in range(1, 4):
    step = 128 * update
    for env in range(2):  # two that end at once
        writer.add_scalar("charts/episodic_return", 10.0 * update + env, step - 1)
        writer.add_scalar("charts/episodic_length", 20 + env, step - 1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    values = {
        "charts/learning_rate": 2.5e-4,
        "losses/value_loss": 0.5 * update,
        "losses/policy_loss": -0.01,
        "losses/entropy": torch.tensor(0.6),
        "losses/old_approx_kl": 0.002,
        "losses/approx_kl": 0.01 * update,
        "losses/clipfrac": 0.125,
        "losses/explained_variance": float("nan") if update == 1 else 0.75,
    }
    for tag, value in values.items():
        writer.add_scalar(tag, value, step)
    told.append({tag: float(value) for tag, value in values.items()})
    writer.add_text("a text", "is no number", step)
    for number in range(60 * ("many" in sys.argv)):
        writer.add_scalar(f"own/{update}/{number}", number, step)
    writer.add_scalar("charts/SPS", 1000 + update, step)
writer.close()
out.with_name(f"{out.stem}.0.json").write_text(json.dumps(told))
