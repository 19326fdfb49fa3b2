"""The programs' own account of what ``clip_grad_norm_`` returned to them."""

import json
from pathlib import Path

import torch

returned = []
_original = torch.nn.utils.clip_grad_norm_


def _clip_grad_norm_(*args, **kwargs):
    norm = _original(*args, **kwargs)
    returned.append(norm.item())
    return norm


torch.nn.utils.clip_grad_norm_ = _clip_grad_norm_
torch.set_num_threads(1)


def write(out, model, rank=0):
    """Write the norms and the weights."""
    path = Path(out)
    found = {"norms": returned, "weights": [p.tolist() for p in model.parameters()]}
    path.with_name(f"{path.stem}.{rank}.json").write_text(json.dumps(found))
