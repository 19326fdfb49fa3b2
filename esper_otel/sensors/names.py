"""Names of models and optimizers for metrics: those of their classes, numbered where several of a class train."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Final

import torch

WRAPPERS: Final = ("module", "_orig_mod", "_fsdp_wrapped_module")
"""Attributes under which DDP, DataParallel, torch.compile, DeepSpeed, accelerate and FSDP keep the model."""

WRAPPING: Final = frozenset(
    {
        "DataParallel",
        "DeepSpeedEngine",
        "DistributedDataParallel",
        "FullyShardedDataParallel",
        "OptimizedModule",
        "_LightningModuleWrapperBase",
    }
)
"""Classes of those wrappers."""

MOST_CLASSES: Final = 256
"""Models whose names are kept apart; of more, the names are those of their classes."""


class ModelNames:
    """Gives each living model a name of its own."""

    def __init__(self) -> None:
        """Start without any."""
        self._names: dict[str, weakref.ref[torch.nn.Module]] = {}

    def name(self, model: torch.nn.Module, given: str | None = None) -> str:
        """Name of ``model``: the class of what is inside its wrappers, or ``given``."""
        inner = unwrapped(model)
        base = given or type(inner).__name__.removeprefix("FSDP")
        for number in range(1, MOST_CLASSES):
            name = base if number == 1 else f"{base}-{number}"
            held = self._names.get(name)
            holder = held() if held is not None else None
            if holder is None or holder is inner:
                self._names[name] = weakref.ref(inner)
                return name
        return base


NAMES: Final = ModelNames()
"""The names of this process."""


def unwrapped(model: Any) -> torch.nn.Module:
    """The model inside the wrappers that train it on several devices or compile it."""
    while type(model).__name__ in WRAPPING:
        parts = vars(model).get("_modules", {})
        inner = next((parts[name] for name in WRAPPERS if parts.get(name) is not None), None)
        if inner is None:
            break
        model = inner
    module: torch.nn.Module = model
    return module


def optimizer_of(optimizer: Any) -> torch.optim.Optimizer | None:
    """The optimizer of torch inside ``optimizer``: accelerate, Lightning and others wrap it; None if there is none."""
    for _ in range(8):
        if isinstance(optimizer, torch.optim.Optimizer) and hasattr(optimizer, "_optimizer_step_pre_hooks"):
            return optimizer
        optimizer = getattr(optimizer, "optimizer", None)
    return None


def parameters_of(optimizer: torch.optim.Optimizer) -> Iterable[torch.Tensor]:
    """All parameters of an optimizer."""
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def ids_of(optimizer: torch.optim.Optimizer) -> frozenset[int]:
    """Ids of the parameters of an optimizer."""
    return frozenset(map(id, parameters_of(optimizer)))
