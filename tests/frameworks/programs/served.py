"""An unchanged program many times, each run in a fork of its own with one gradient scaled from outside.

    served.py TELEMETRY FACTOR PROGRAM [ARGUMENTS] < PLACEMENTS

Each line of standard input is the run id of a run and the number of the clip before which its gradient is scaled; 0
for none. torch and what the program is made of are imported once.
"""

import os
import runpy
import sys
from pathlib import Path

import torch

import esper_otel
import esper_otel.automatic.recorder  # hooks nothing yet

telemetry, factor, program, *arguments = sys.argv[1:]
if "stable_baselines3" in Path(program).read_text():
    import stable_baselines3  # noqa: F401
torch.set_num_threads(1)
torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).step()  # what torch imports late is imported once


def scale(placement):
    original = torch.nn.utils.clip_grad_norm_
    calls = 0

    def clip_grad_norm_(parameters, *args, **kwargs):
        nonlocal calls
        calls += 1
        parameters = list(parameters)
        if calls == placement:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(float(factor))
        return original(parameters, *args, **kwargs)

    torch.nn.utils.clip_grad_norm_ = clip_grad_norm_


def train(run_id, placement):
    esper_otel.autolog(telemetry_dir=telemetry, run_id=run_id, relay=False)
    scale(placement)
    sys.path.insert(0, str(Path(program).parent))
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
    esper_otel.shutdown()


for line in sys.stdin.readlines():
    name, number = line.split()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(name, int(number))
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"{name} failed")
