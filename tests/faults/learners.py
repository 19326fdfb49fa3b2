"""Two small networks that learn the same task, one in numpy, one in torch: what the fault campaign trains.

A fault test is to start within a second on a machine with two busy cores, where importing torch takes several. So most
train in numpy, and in torch those whose fault has to do with it. Both end with weights that depend on the number of
steps alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

INPUTS, HIDDEN, CLASSES, EXAMPLES, BATCH = 16, 32, 4, 1024, 64


class Learner(Protocol):
    """Something that trains."""

    def losses(self) -> Iterator[float]:
        """Train for ever; the loss of each step."""

    def digest(self) -> str:
        """Hash of the weights."""


class NumpyLearner:
    """Stochastic gradient descent, by hand."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._features = rng.normal(size=(EXAMPLES, INPUTS))
        self._labels = (self._features @ rng.normal(size=(INPUTS, CLASSES))).argmax(axis=1)
        self._inner = rng.normal(size=(INPUTS, HIDDEN)) * 0.2
        self._outer = rng.normal(size=(HIDDEN, CLASSES)) * 0.2
        self._order = np.random.default_rng(2)

    def losses(self) -> Iterator[float]:
        """Train for ever; the loss of each step."""
        while True:
            chosen = self._order.integers(0, EXAMPLES, BATCH)
            features, labels = self._features[chosen], self._labels[chosen]
            hidden = np.tanh(features @ self._inner)
            scores = np.exp(hidden @ self._outer)
            chances = scores / scores.sum(axis=1, keepdims=True)
            loss = -np.log(chances[np.arange(BATCH), labels]).mean()
            chances[np.arange(BATCH), labels] -= 1.0
            back = (chances @ self._outer.T) * (1.0 - hidden**2)
            self._outer -= 0.1 * hidden.T @ chances / BATCH
            self._inner -= 0.1 * features.T @ back / BATCH
            yield float(loss)

    def digest(self) -> str:
        """Hash of the weights."""
        return hashlib.sha256(self._inner.tobytes() + self._outer.tobytes()).hexdigest()


def learner(name: str, workers: str | None) -> Learner:
    """The learner ``name`` (numpy or torch); ``workers`` (fork, spawn) load torch's data in processes of their own."""
    if name == "numpy":
        return NumpyLearner()
    from tests.faults.torch_learner import TorchLearner  # seconds to import

    return TorchLearner(workers)
