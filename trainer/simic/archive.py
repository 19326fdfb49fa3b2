"""The state of one arm on one rank as one NumPy archive: plain arrays, and JSON among them for the numbers."""

from __future__ import annotations

import json
import time
import zipfile
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from trainer.simic.detectors import rolling_mean
from trainer.simic.observer import CheckpointFile
from trainer.tolaria.weights import save_npz

if TYPE_CHECKING:
    from trainer.simic.loop import Training

_POLICY: Final = "policy/"
_OPTIMIZER: Final = "optimizer/"
_ACTIONS: Final = "random/actions"
_MINIBATCHES: Final = "random/minibatches"
_NUMBERS: Final = "numbers"


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names it and the reason."""


def save_arm(path: Path, training: Training) -> CheckpointFile:
    """Write the state of ``training`` to ``path``; a reader never sees half of it.

    Raises:
        OSError: it cannot be written.
    """
    begun = time.perf_counter()
    optimizer = training.ppo.optimizer.state_dict()["state"]
    numbers = {
        "rounds_done": training.rounds_done,
        "consecutive_skips": training.ppo.consecutive_skips,
        "accuracies": list(training.accuracies),
        "watch": _plain(training.watch),
    }
    arrays = {_POLICY + name: value for name, value in training.policy.state_dict().items()}
    arrays |= {f"{_OPTIMIZER}{i}/{name}": value for i, state in optimizer.items() for name, value in state.items()}
    arrays[_ACTIONS] = training.stream.get_state()
    arrays[_MINIBATCHES] = training.ppo.stream.get_state()
    arrays[_NUMBERS] = torch.frombuffer(bytearray(json.dumps(numbers).encode()), dtype=torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    save_npz(draft, arrays)
    draft.replace(path)
    return replace(_described(path, training), duration_s=time.perf_counter() - begun)


def load_arm(path: Path, training: Training) -> CheckpointFile:
    """Restore ``training``, which was built from the same recipe, to its state at the writing of ``path``.

    Raises:
        CheckpointError: the file is missing, damaged, or of another policy.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: torch.from_numpy(content[name]) for name in content.files}
            numbers = json.loads(content[_NUMBERS].tobytes())
        training.policy.load_state_dict(_below(arrays, _POLICY))
        training.ppo.optimizer.load_state_dict(_optimizer_state(arrays, training))
        training.stream.set_state(arrays[_ACTIONS])
        training.ppo.stream.set_state(arrays[_MINIBATCHES])
        training.rounds_done = numbers["rounds_done"]
        training.ppo.consecutive_skips = numbers["consecutive_skips"]
        training.accuracies.extend(numbers["accuracies"])
        _restore(training.watch, numbers["watch"])
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return _described(path, training)


def _described(path: Path, training: Training) -> CheckpointFile:
    return CheckpointFile(
        path=str(path),
        episodes_completed=training.rounds_done * training.recipe.envs,
        size_bytes=path.stat().st_size,
        accuracy=rolling_mean(training.accuracies),
    )


def _below(arrays: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _optimizer_state(arrays: Mapping[str, torch.Tensor], training: Training) -> dict[str, Any]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _below(arrays, _OPTIMIZER).items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    # The groups hold settings alone, and those follow from the recipe.
    return {"state": state, "param_groups": training.ppo.optimizer.state_dict()["param_groups"]}


def _plain(memory: Any) -> dict[str, Any]:
    """The fields of a detector's memory as JSON has them."""
    values = {field.name: getattr(memory, field.name) for field in fields(memory)}
    return {name: list(value) if isinstance(value, deque) else value for name, value in values.items()}


def _restore(memory: Any, values: Mapping[str, Any]) -> None:
    for field in fields(memory):
        now = getattr(memory, field.name)
        value = values[field.name]
        if isinstance(now, deque):
            now.clear()
            now.extend(value)
        else:
            setattr(memory, field.name, value)
