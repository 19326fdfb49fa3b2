"""An algorithm of Stable-Baselines3 with its own log in JSON, and in TensorBoard: ``sb3_logged.py OUT ALGORITHM``."""

import json
import sys
from pathlib import Path

import stable_baselines3
import torch
from stable_baselines3.common.logger import configure

torch.set_num_threads(1)
out = Path(sys.argv[1])
common = {"seed": 1, "device": "cpu"}
if sys.argv[2] in {"PPO", "A2C"}:
    options = {"n_steps": 64} | ({"batch_size": 32, "n_epochs": 2} if sys.argv[2] == "PPO" else {})
    model = getattr(stable_baselines3, sys.argv[2])("MlpPolicy", "CartPole-v1", **options, **common)
    steps, interval = 320, 1
else:
    model = getattr(stable_baselines3, sys.argv[2])("MlpPolicy", "Pendulum-v1", learning_starts=50, **common)
    steps, interval = 850, 2
model.set_logger(configure(str(out.parent / "log"), ["stdout", "json", "tensorboard"]))
model.learn(steps, log_interval=interval)
rows = [json.loads(line) for line in (out.parent / "log" / "progress.json").read_text().splitlines()]
last = {key: float(value) for key, value in model.logger.name_to_value.items()}
out.with_name(f"{out.stem}.0.json").write_text(json.dumps({"rows": rows, "last": last, "entropy_coef": model.ent_coef}))
