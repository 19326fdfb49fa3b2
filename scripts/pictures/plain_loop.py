"""A PyTorch loop without a line of telemetry: ``esper-otel run`` records it as it is."""

import sys
import time

import torch

STEPS, BATCH, PAUSE_S = 1500, 128, 0.1


def main(steps: int) -> None:
    """Train a classifier on made-up points; a pause in each step gives Prometheus something to scrape."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    points = torch.randn(4096, 64)
    labels = (points @ torch.randn(64, 10)).argmax(dim=1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(0, len(points), (BATCH,))
        loss = torch.nn.functional.cross_entropy(model(points[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
