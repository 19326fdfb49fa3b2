"""A training process for fault tests: a small network learns, and every step is told.

    python -m tests.faults.child DIRECTORY --result FILE [--steps 200] [--pause 0.005] [--no-telemetry] …

The weights at the end depend on nothing but the number of steps, so their hash says whether telemetry interfered.
"""

import argparse
import ctypes
import json
import os
import threading
import time
from itertools import islice
from pathlib import Path

import esper_otel
from esper_otel.events import (
    BatchCompleted,
    Decision,
    EpochCompleted,
    PolicyUpdate,
    SeedGerminated,
    SeedPruned,
    TrainingStarted,
)
from tests.faults.learners import learner
from tests.waiting import own_time_s, wait_for

STEPS_PER_ROUND = 20


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--learner", choices=["numpy", "torch"], default="numpy")
    parser.add_argument("--workers", choices=["fork", "spawn"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.005)
    parser.add_argument("--decisions", type=int, default=5)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--odd", action="store_true")
    parser.add_argument("--hold-at", type=int, action="append", default=[], metavar="STEP", help="wait after this step")
    parser.add_argument("--strike", help="name of a thread in which an exception is raised every 20 steps")
    parser.add_argument("--run-id", default="run")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--no-telemetry", action="store_true")
    parser.add_argument("--relay", action="store_true")
    parser.add_argument("--linger", type=float, default=0.0)
    parser.add_argument("--segment", type=int, default=64 * 1024 * 1024)
    return parser.parse_args()


def tell(step: int, loss: float, options: argparse.Namespace) -> None:
    """What one step emits; the first and the last step of a round say more."""
    number, inner = divmod(step, STEPS_PER_ROUND)
    seed = f"round{number}_seed_0"
    if inner == 0:
        esper_otel.emit(SeedGerminated(seed_id=seed, slot_id="r0c0", env_id=0, blueprint_id="norm", params=10))
    for index in range(options.decisions):
        decide(step * options.decisions + index if options.distinct else index, inner, options.distinct)
    esper_otel.emit(EpochCompleted(env_id=0, episode_idx=number + 1, inner_epoch=inner + 1, val_loss=loss))
    if inner == STEPS_PER_ROUND - 1:
        esper_otel.emit(SeedPruned(seed_id=seed, slot_id="r0c0", env_id=0, initiator="policy", blueprint_id="norm"))
        esper_otel.emit(PolicyUpdate(batch=number + 1, ppo_update_idx=1, pre_clip_grad_norm=1.0))
        esper_otel.emit(BatchCompleted(batch_idx=number + 1, episodes_completed=number + 1, n_envs=1))


def decide(env: int, inner: int, distinct: bool) -> None:
    """One decision; with ``distinct`` every attribute has a value of its own each time."""
    if distinct:
        named = Decision(env_id=env, action_name=f"A{env}", blueprint_id=f"blueprint {env}", slot_id=f"slot {env}")
        esper_otel.emit(named, group_id=f"group {env}")
    else:
        esper_otel.emit(Decision(env_id=env, inner_epoch=inner, action_name="WAIT", blueprint_id="norm"))


def strike(name: str) -> None:
    """Raise MemoryError in the thread ``name``, wherever it is."""
    victim = next(thread for thread in threading.enumerate() if thread.name == name)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(victim.ident or 0), ctypes.py_object(MemoryError))


def train(options: argparse.Namespace) -> dict[str, object]:
    """Train; the hash of the weights and the longest time that telling a step took, other processes' aside, s."""
    chosen = learner(options.learner, options.workers)
    slowest_s = 0.0
    for step, loss in enumerate(islice(chosen.losses(), options.steps)):
        started = own_time_s()
        tell(step, loss, options)
        slowest_s = max(slowest_s, own_time_s() - started)
        if options.strike and step % STEPS_PER_ROUND == 10:
            strike(options.strike)
        # Each printed time says that everything emitted before it is at least this old.
        if not options.quiet:
            print(f"{step + 1} {time.time_ns()}", flush=True)
        if step + 1 in options.hold_at:
            wait_for(options.result.with_name(f"go on after {step + 1}").exists, "the word to go on")
        time.sleep(options.pause)
    return {"weights": chosen.digest(), "slowest_s": slowest_s}


def main() -> None:
    options = parse()
    telemetry = None
    if not options.no_telemetry:
        telemetry = esper_otel.configure(
            telemetry_dir=options.directory,
            run_id=options.run_id,
            relay=options.relay,
            linger_s=options.linger,
            segment_bytes=options.segment,
        )
        esper_otel.emit(TrainingStarted(task="fault", n_envs=1, max_batches=options.steps // STEPS_PER_ROUND))
    if options.odd:
        from tests.faults.odd_values import odd_events  # imports torch

        for event in odd_events():
            esper_otel.emit(event)
    result = train(options)
    started = own_time_s()
    esper_otel.shutdown(rounds=options.steps // STEPS_PER_ROUND)
    result["shutdown_s"] = own_time_s() - started
    result["counters"] = telemetry.counters if telemetry is not None else {}
    draft = options.result.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(result))
    draft.replace(options.result)


if __name__ == "__main__":
    main()
