"""Trains a small network under one tool that watches a loop; run by :mod:`benchmarks.autolog`, as a script.

    watched.py NAME WIDTH COMMANDS ANSWERS

It reads a number of steps from the file ``COMMANDS``, trains so many and writes the CPU time of the training thread and
of the process, s, into ``ANSWERS``; again and again until ``COMMANDS`` ends.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

Step = Callable[[], None]
BATCH: Final = 64
WARM_UP: Final = 20


class Loop:
    """A network, its optimizer, and a step with clipping and a loss that somebody may read."""

    def __init__(self, width: int) -> None:
        """Five layers of ``width``."""
        torch.manual_seed(1)
        layers = [layer for _ in range(5) for layer in (torch.nn.Linear(width, width), torch.nn.Tanh())]
        self.model = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.inputs = torch.randn(BATCH, width)
        self.loss = torch.zeros(())
        self.count = 0

    def step(self) -> None:
        """Train once."""
        self.optimizer.zero_grad()
        self.loss = self.model(self.inputs).square().mean()
        self.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.optimizer.step()
        self.count += 1


def plain(loop: Loop, directory: str) -> Step:
    """Nobody watches."""
    return loop.step


def esper_otel(loop: Loop, directory: str) -> Step:
    """Ours, by its one line; the relay is another process and not started."""
    import esper_otel as ours

    ours.autolog(telemetry_dir=directory, relay=False)
    return loop.step


def _wandb(directory: str) -> Any:
    import wandb

    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
    return wandb.init(project="benchmark", mode="offline", dir=directory, settings=settings)


def wandb_log(loop: Loop, directory: str) -> Step:
    """Logs the loss; nothing is watched."""
    return _logging(loop, _wandb(directory))


def wandb_watch(loop: Loop, directory: str) -> Step:
    """``watch`` as it comes: gradients as histograms each 1,000th step; they go out with the loss."""
    run = _wandb(directory)
    run.watch(loop.model)
    return _logging(loop, run)


def wandb_watch_all(loop: Loop, directory: str) -> Step:
    """``watch`` of every step."""
    run = _wandb(directory)
    run.watch(loop.model, log_freq=1)
    return _logging(loop, run)


def _logging(loop: Loop, run: Any) -> Step:
    def step() -> None:
        loop.step()
        run.log({"loss": loop.loss.item()})

    return step


def mlflow_autolog(loop: Loop, directory: str) -> Step:
    """``mlflow.pytorch.autolog()`` and a run."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{directory}/mlflow.db")
    mlflow.pytorch.autolog()
    mlflow.start_run()
    return loop.step


def tensorboard(loop: Loop, directory: str) -> Step:
    """The loss of each step by ``SummaryWriter``."""
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(directory)

    def step() -> None:
        loop.step()
        writer.add_scalar("loss", loop.loss.item(), loop.count)

    return step


def mlflow_tensorboard(loop: Loop, directory: str) -> Step:
    """The same with MLflow's autolog, which reads along."""
    mlflow_autolog(loop, directory)
    return tensorboard(loop, directory)


def esper_otel_tensorboard(loop: Loop, directory: str) -> Step:
    """The same with ours."""
    esper_otel(loop, directory)
    return tensorboard(loop, directory)


def traceml(loop: Loop, directory: str) -> Step:
    """TraceML with the two lines that its readme asks a loop for, under its launcher."""
    import traceml_ai

    traceml_ai.init(mode="auto")

    def step() -> None:
        with traceml_ai.trace_step(loop.model):
            loop.step()

    return step


def torchtel(loop: Loop, directory: str) -> Step:
    """Its instrumentor, with spans that are made, batched and thrown away."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from torchtel.instrument import PyTorchInstrumentor

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    PyTorchInstrumentor().instrument(model=loop.model)
    return loop.step


def main() -> None:
    """Serve blocks."""
    name, width, commands, answers = sys.argv[1:]
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # gradients of a network that learnt its batch by heart
    directory = tempfile.mkdtemp(dir=Path(commands).parent)
    os.chdir(directory)
    step = globals()[name](Loop(int(width)), directory)
    for _ in range(WARM_UP):
        step()
    with Path(commands).open(encoding="utf-8") as asked, Path(answers).open("w", encoding="utf-8") as out:
        for line in asked:
            count = int(line)
            process, thread = time.process_time(), time.thread_time()
            for _ in range(count):
                step()
            taken = [(time.thread_time() - thread) / count, (time.process_time() - process) / count]
            print(json.dumps(taken), file=out, flush=True)


if __name__ == "__main__":
    main()
