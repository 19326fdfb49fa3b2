"""A small transformer, trained as such scripts do: accumulation, scaler, clipping, schedule, several ranks."""

import json
import math
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

out = Path(sys.argv[1])
backend = {"--compile": "aot_eager", "--inductor": "inductor"}.get(sys.argv[-1])
is_scaled = "--amp" in sys.argv
accumulation, steps, clip = 2, 12, 0.5

ddp = int(os.environ.get("RANK", "-1")) != -1
rank = 0
if ddp:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
torch.manual_seed(1337 + rank)
torch.set_num_threads(1)


class GPT(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = torch.nn.ModuleDict(
            {"wte": torch.nn.Embedding(17, 16), "mlp": torch.nn.Linear(16, 16), "ln": torch.nn.LayerNorm(16)}
        )
        self.lm_head = torch.nn.Linear(16, 17, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, idx, targets):
        x = self.transformer["wte"](idx)
        x = self.transformer["ln"](x + functional.gelu(self.transformer["mlp"](x)))
        return functional.cross_entropy(self.lm_head(x).view(-1, 17), targets.reshape(-1))


torch.manual_seed(7)
model = GPT()
decay = [p for p in model.parameters() if p.dim() >= 2]
others = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": others}], lr=1e-2)
scaler = torch.amp.GradScaler("cpu", enabled=is_scaled, init_scale=1024.0)
raw = model
if backend:
    model = torch.compile(model, backend=backend)
if ddp:
    model = DistributedDataParallel(model)

norms, rates = [], []
torch.manual_seed(1337 + rank)
for step in range(steps):
    rate = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = rate
    for micro in range(accumulation):
        tokens = torch.randint(0, 17, (4, 9))
        with model.no_sync() if ddp and micro < accumulation - 1 else nullcontext():
            loss = model(tokens[:, :-1], tokens[:, 1:]) / accumulation
            scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
    rates.append(rate)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
if rank == 0:
    torch.save(raw.state_dict(), out.with_suffix(".pt"))
weights = [p.tolist() for p in raw.parameters()]
out.with_name(f"{out.stem}.{rank}.json").write_text(json.dumps({"norms": norms, "lr": rates, "weights": weights}))
if ddp:
    distributed.destroy_process_group()
