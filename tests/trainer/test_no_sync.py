"""Numbers leave the device in named places alone: proven on the source, and once more while a round runs."""

import ast
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.recipes import RECIPES
from trainer.simic.loop import Training

ROOT = Path(__file__).resolve().parents[2]
TRAINER = ROOT / "trainer"
READBACK = TRAINER / "tamiyo" / "readback.py"
BETWEEN_ROUNDS = {
    TRAINER / "tolaria" / "weights.py",
    TRAINER / "simic" / "checkpoint.py",
    *(TRAINER / "distributed").glob("*.py"),
}
"""Weights that go to disk or into a digest, and what ranks tell each other: neither is the loop's or a step's."""

WAITING = {"item", "cpu", "tolist", "numpy", "synchronize", "nonzero"}
"""Methods that wait for the device."""

LOOP = sorted(set(TRAINER.rglob("*.py")) - BETWEEN_ROUNDS - {READBACK})


def waits_in(source: str) -> list[str]:
    """Where ``source`` calls something that waits, as ``line: name``."""
    return [
        f"{node.lineno}: {node.func.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITING
    ]


@pytest.mark.parametrize("path", LOOP, ids=lambda path: str(path.relative_to(TRAINER)))
def test_nothing_outside_the_named_places_waits_for_the_device(path):
    assert [] == waits_in(path.read_text())


@pytest.mark.parametrize(
    "line", ["loss.item()", "x.cpu()", "a.b.tolist()", "torch.cuda.synchronize()", "y.detach().numpy()"]
)
def test_the_rule_sees_a_call_that_waits(line):
    assert ["2: " + line.rpartition(".")[2].removesuffix("()")] == waits_in(f"def f():\n    {line}\n")


class Watcher(TorchDispatchMode):
    """Remembers which file of the trainer made a number of a tensor, by whatever spelling."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            stack = traceback.extract_stack()
            own = [frame for frame in stack if frame.filename.startswith(str(TRAINER))]
            # Adam reads its own step counter, which torch keeps on the host.
            if not any("/torch/optim/" in frame.filename for frame in stack):
                self.places.add(f"{Path(own[-1].filename).relative_to(TRAINER)}:{own[-1].lineno}")
        return func(*args, **(kwargs or {}))


def test_no_float_int_or_bool_of_a_tensor_hides_in_a_round():
    settings = replace(RECIPES["smoke"].environment, episode_length=10)
    training = Training(replace(RECIPES["smoke"], environment=settings, diagnostics="high"))
    with Watcher() as watcher:
        training.round(learn=True)

    assert set() == watcher.places
