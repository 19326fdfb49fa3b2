"""Names of the models and optimizers of the process, and the gradients of their layers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import torch

from esper_otel.automatic.models import models_of
from esper_otel.events import GradientStats
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.layers import LayerGradients
from esper_otel.sensors.names import NAMES, ids_of, parameters_of
from esper_otel.sensors.updating.unread import Names

MOST_SEARCHES: Final = 64
"""Searches for a model in one process; a program that makes optimizers for ever must not search for ever."""

BARE: Final = "tensors"
"""Name of a model of which only its parameters are known."""

Optimizer = torch.optim.Optimizer


class _Known:
    """A model, or several that train together, with the optimizers of each class."""

    def __init__(self, name: str, models: list[torch.nn.Module], optimizer: Optimizer, faults: Faults) -> None:
        self.name = name
        self.ids = ids_of(optimizer)
        self.optimizers: dict[str, frozenset[int]] = {}
        self._models = [weakref.ref(model) for model in models]
        self._optimizer = weakref.ref(optimizer)
        self.layers = LayerGradients(self._named, model=name, faults=faults)

    def is_evaluated(self) -> bool:
        """Return True if one of the models is in evaluation mode."""
        return any((model := held()) is not None and not model.training for held in self._models)

    def _named(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for number, held in enumerate(self._models):
            if (model := held()) is not None:
                prefix = f"{number}." if len(self._models) > 1 else ""
                yield from ((prefix + name, parameter) for name, parameter in model.named_parameters())
        optimizer = self._optimizer()
        if not self._models and optimizer is not None:
            for number, group in enumerate(optimizer.param_groups):
                yield from ((f"group{number}.{index}", p) for index, p in enumerate(group["params"]))


class Naming:
    """Finds the model of an optimizer once, at its first update."""

    def __init__(self, faults: Faults) -> None:
        """``faults`` takes what cannot be measured."""
        self._faults = faults
        self._known: list[_Known] = []
        self._searches = 0
        self.step = 0

    def names(self, optimizer: Optimizer) -> Names:
        """Names of an optimizer and its model; one that is made anew for the same parameters has the old one's."""
        ids = ids_of(optimizer)
        known = next((one for one in self._known if not one.ids.isdisjoint(ids)), None) or self._find(optimizer)
        known.ids |= ids
        kind = type(optimizer).__name__
        for number in range(1, MOST_SEARCHES):
            name = kind if number == 1 else f"{kind}-{number}"
            if name not in known.optimizers or not known.optimizers[name].isdisjoint(ids):
                known.optimizers[name] = ids
                return Names(known.name, name)
        return Names(known.name, kind)

    def is_evaluated(self) -> bool:
        """Return True if a model that is trained is in evaluation mode."""
        return any(known.is_evaluated() for known in self._known)

    def measure(self, parameters: Sequence[torch.Tensor], scale: torch.Tensor | None) -> None:
        """Measure the layers of the model that ``parameters`` belong to, if they are due."""
        first = id(parameters[0]) if parameters else 0
        for known in self._known:
            if first in known.ids:
                known.layers.measure(parameters, self.step, scale)
                return

    def take(self) -> Iterable[GradientStats]:
        """Measurements of the layers since the last call; the next gradients are measured again."""
        for known in self._known:
            yield from known.layers.take()
            known.layers.ask()

    def _find(self, optimizer: Optimizer) -> _Known:
        self._searches += 1
        models = models_of(parameters_of(optimizer)) if self._searches <= MOST_SEARCHES else []
        name = "+".join(NAMES.name(model) for model in models) or BARE
        known = _Known(name, models, optimizer, self._faults)
        if self._searches <= MOST_SEARCHES:
            self._known.append(known)
        return known
