"""A plain PyTorch training loop without Esper, plus ten lines of telemetry (each marked ``# telemetry``).

    python examples/plain_pytorch.py [--steps 400] [--device cuda] [--compile] [--amp]

It trains a small network on scikit-learn's handwritten digits and ends by printing a few of its own metrics.
"""

from __future__ import annotations

import argparse
import json
import urllib.request

import torch
from sklearn.datasets import load_digits

import esper_otel  # telemetry
from esper_otel.sensors import TrainingMonitor  # telemetry

SHOWN = ("tolaria_step_phase_duration_seconds_sum", "tolaria_gradient_norm_sum", "tolaria_compile", "hw_power_watts")


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--amp", action="store_true")
    options = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device(options.device)
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, enabled=options.amp)
    forward = torch.compile(model) if options.compile else model

    telemetry = esper_otel.configure()  # telemetry
    monitor = TrainingMonitor(model, optimizer, scaler=scaler, emit=esper_otel.emit)  # telemetry

    for _ in range(options.steps):
        batch = torch.randint(0, len(images), (128,))
        with monitor.phase("data_transfer"):  # telemetry
            x, y = images[batch].to(device, non_blocking=True), labels[batch].to(device, non_blocking=True)
        with monitor.phase("forward"), torch.autocast(device.type, enabled=options.amp):  # telemetry
            loss = torch.nn.functional.cross_entropy(forward(x), y)
        with monitor.phase("backward"):  # telemetry
            scaler.scale(loss).backward()
        with monitor.phase("optimizer_step"):  # telemetry
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        monitor.step()  # telemetry
    print(f"loss {loss.item():.3f} after {options.steps} steps")

    monitor.close()  # telemetry
    esper_otel.shutdown()  # telemetry
    show(telemetry)


def show(telemetry: esper_otel.Telemetry) -> None:
    """Print a few lines of the run's /metrics; the relay stays scrapable for some seconds after the run."""
    relay = json.loads((telemetry.run_dir / "run.json").read_text(encoding="utf-8")).get("relay") or {}
    url = relay.get("prometheus_url")
    if url is None:
        print(f"events are in {telemetry.run_dir}; no relay serves them")
        return
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    print(f"{url} has {len(lines)} lines, among them:")
    print("\n".join(line for line in lines if line.startswith(SHOWN)))


if __name__ == "__main__":
    main()
