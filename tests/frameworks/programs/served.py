"""An unchanged program many times at once, each in a process of its own with one gradient scaled from outside.

    served.py TELEMETRY FACTOR PACE_S GATE PROGRAM [ARGUMENTS] < PLACEMENTS

Each line of standard input is the run id of a run and the number of the clip before which its gradient is scaled; 0
for none. A clip takes ``PACE_S`` longer, and the second waits for the file ``GATE``, so that the runs are scraped while
they train. Each run has its own relay, as ``esper-otel relay RUN --follow`` starts it. torch, the relay and what the
program is made of are imported once.
"""

import importlib
import os
import runpy
import sys
import time
from pathlib import Path

import torch

import esper_otel
import esper_otel.automatic.recorder  # hooks nothing yet
from esper_otel.relay.command import relay

LINGER_S = 8.0
telemetry, factor, pace, gate, program, *arguments = sys.argv[1:]
for module in ("stable_baselines3", "gymnasium", "torch.utils.tensorboard"):
    if module in Path(program).read_text():
        importlib.import_module(module)
torch.set_num_threads(1)
torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).step()  # what torch imports late is imported once


def scale(placement):
    original = torch.nn.utils.clip_grad_norm_
    calls = 0

    def clip_grad_norm_(parameters, *args, **kwargs):
        nonlocal calls
        calls += 1
        time.sleep(float(pace))
        while calls == 2 and not Path(gate).exists():
            time.sleep(0.1)
        parameters = list(parameters)
        if calls == placement:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(float(factor))
        return original(parameters, *args, **kwargs)

    torch.nn.utils.clip_grad_norm_ = clip_grad_norm_


def train(run_id, placement):
    directory = Path(telemetry).parent / "own" / run_id
    directory.mkdir(parents=True)
    esper_otel.autolog(telemetry_dir=telemetry, run_id=run_id, relay=False)
    scale(placement)
    sys.path.insert(0, str(Path(program).parent))
    sys.argv = [program, str(directory / "own.json"), *arguments]
    runpy.run_path(program, run_name="__main__")
    esper_otel.shutdown()


def follow(run_id, _):
    run = Path(telemetry) / run_id
    while not (run / "run.json").exists():
        time.sleep(0.05)
    try:
        relay(
            run=run,
            follow=True,
            linger=LINGER_S,
            drain=0.0,
            stall_after=300.0,
            idle_exit=None,
            state_dir=None,
            from_start=False,
            run_id=None,
            wait=30.0,
            of_node=False,
            parent_pid=None,
        )
    except Exception as error:
        if getattr(error, "exit_code", 1):
            raise


children = {}
for line in sys.stdin.readlines():
    name, number = line.split()
    for part in (train, follow):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                part(name, int(number))
                status = 0
            finally:
                os._exit(status)
        children[child] = f"{part.__name__} {name}"
failed = [what for child, what in children.items() if os.waitpid(child, 0)[1] != 0]
if failed:
    sys.exit(f"failed: {', '.join(failed)}")
