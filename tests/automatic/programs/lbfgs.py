"""Full-batch fitting by LBFGS, whose step evaluates a closure several times."""

import json
import sys
from pathlib import Path

import torch

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(32, 4)
targets = inputs.square().sum(1, keepdim=True)
model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)
last, norms = [], []


def closure():
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    last.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]).norm().item())
    return loss


for _ in range(6):
    optimizer.step(closure)
    norms.append(last[-1])
Path(sys.argv[1]).write_text(json.dumps({"norms": norms, "weights": [p.tolist() for p in model.parameters()]}))
