"""The model behind an optimizer, found among the objects of the process."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Final

import torch

from esper_otel.sensors.names import WRAPPING

MOST_PARTS: Final = 3
"""Models that a name is put together from."""

Module = torch.nn.Module


def models_of(parameters: Iterable[torch.Tensor]) -> list[Module]:
    """The smallest model that has all ``parameters``, or the models that have them together; none for bare tensors.

    Of models with the same parameters the outermost counts, without what wraps it to train on several devices. It looks
    at every object that Python's garbage collector knows, some tens of milliseconds in a large program.
    """
    ids = {id(parameter) for parameter in parameters}
    modules = [one for one in gc.get_objects() if issubclass(type(one), Module)]
    owners = [one for one in modules if any(id(p) in ids for p in _own(one, "_parameters"))]
    if not owners:
        return []
    parents: dict[int, list[Module]] = {}
    for module in modules:
        for child in _own(module, "_modules"):
            parents.setdefault(id(child), []).append(module)
    families = [_family(owner, parents) for owner in owners]
    common = set(families[0]).intersection(*families[1:])
    if common:
        return [_best([module for module in families[0].values() if id(module) in common])]
    tops = {id(top): top for family in families if (top := _best_top(list(family.values()))) is not None}
    return list(tops.values())[:MOST_PARTS]


def _own(module: Module, name: str) -> Iterator[object]:
    found = module.__dict__.get(name) or {}
    return (one for one in list(found.values()) if one is not None)


def _family(module: Module, parents: dict[int, list[Module]]) -> dict[int, Module]:
    """A module and all that contain it."""
    found = {id(module): module}
    waiting = [module]
    while waiting:
        for parent in parents.get(id(waiting.pop()), ()):
            if id(parent) not in found:
                found[id(parent)] = parent
                waiting.append(parent)
    return found


def _best(modules: list[Module]) -> Module:
    """Of modules inside one another: the outermost of those with the fewest parameters."""
    sizes = {id(module): sum(1 for _ in module.parameters()) for module in modules}
    least = min(sizes.values())
    smallest = [module for module in modules if sizes[id(module)] == least]
    return _best_top(smallest) or smallest[0]


def _best_top(modules: list[Module]) -> Module | None:
    plain = [module for module in modules if type(module).__name__ not in WRAPPING]
    return max(plain, key=lambda module: sum(1 for _ in module.modules()), default=None)
