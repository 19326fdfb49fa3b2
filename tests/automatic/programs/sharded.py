"""A model sharded over ranks, and clipped."""

import json
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard

distributed.init_process_group("gloo")
torch.set_num_threads(1)
torch.manual_seed(0)
mesh = distributed.init_device_mesh("cpu", (distributed.get_world_size(),))
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
fully_shard(model, mesh=mesh)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
norms = []
for _ in range(6):
    model(torch.randn(3, 4)).square().sum().backward()
    norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).full_tensor().item())
    optimizer.step()
    optimizer.zero_grad()
weights = [p.full_tensor().tolist() for p in model.parameters()]
out = Path(sys.argv[1])
out.with_name(f"{out.stem}.{distributed.get_rank()}.json").write_text(json.dumps({"norms": norms, "weights": weights}))
distributed.barrier()  # a rank that ends while another still speaks to it can abort that one
distributed.destroy_process_group()
