"""Two networks against each other, with an optimizer each and data from a loader with worker processes."""

import json
import sys
from pathlib import Path

import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, TensorDataset


class Generator(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))


class Critic(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    generator, critic = Generator(), Critic()
    makes = torch.optim.Adam(generator.parameters(), lr=1e-2)
    judges = torch.optim.RMSprop(critic.parameters(), lr=1e-2)
    data = TensorDataset(torch.randn(64, 2) * 3 + 5)
    found = {"Generator": [], "Critic": []}
    for _ in range(2):
        for (real,) in DataLoader(data, batch_size=8, num_workers=2, multiprocessing_context="spawn"):
            fake = generator(torch.randn(8, 4))
            judges.zero_grad()
            (critic(fake.detach()).mean() - critic(real).mean()).backward()
            found["Critic"].append(clip_grad_norm_(critic.parameters(), 0.1).item())
            judges.step()
            makes.zero_grad()
            (-critic(fake).mean()).backward()
            found["Generator"].append(clip_grad_norm_(generator.parameters(), 0.1).item())
            makes.step()
    weights = [p.tolist() for model in (generator, critic) for p in model.parameters()]
    Path(sys.argv[1]).write_text(json.dumps({"norms": found, "samples": 2 * len(data), "weights": weights}))
