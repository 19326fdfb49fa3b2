"""A training loop that knows nothing of us; its argument is the number of updates, 0 for no end."""

from __future__ import annotations

import sys
from itertools import count, islice

import torch


def main() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in islice(count(), int(sys.argv[1]) or None):
        inputs = torch.randn(16, 8)
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
