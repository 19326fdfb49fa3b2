"""The torch version of :mod:`tests.faults.learners`; apart, because importing torch takes seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset, get_worker_info

import esper_otel
from esper_otel.events import Decision
from tests.faults.learners import BATCH, CLASSES, EXAMPLES, HIDDEN, INPUTS


class Emitting(Dataset[tuple[torch.Tensor, ...]]):
    """A data set whose workers emit, as code does that does not know in which process it runs."""

    def __init__(self, inner: TensorDataset) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        if get_worker_info() is not None:
            esper_otel.emit(Decision(env_id=index))
        return self.inner[index]


class TorchLearner:
    """Adam on one thread."""

    def __init__(self, workers: str | None) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(1)
        features = torch.randn(EXAMPLES, INPUTS)
        labels = (features @ torch.randn(INPUTS, CLASSES)).argmax(dim=1)
        options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": workers} if workers else {}
        order = torch.Generator().manual_seed(2)
        data = Emitting(TensorDataset(features, labels))
        self._loader = DataLoader(data, batch_size=BATCH, shuffle=True, generator=order, **options)
        torch.manual_seed(3)
        self._model = torch.nn.Sequential(
            torch.nn.Linear(INPUTS, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, CLASSES)
        )
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=1e-2)

    def losses(self) -> Iterator[float]:
        """Train for ever; the loss of each step."""
        while True:
            for features, labels in self._loader:
                loss = torch.nn.functional.cross_entropy(self._model(features), labels)
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
                yield float(loss.detach())

    def digest(self) -> str:
        """Hash of the weights."""
        weights = [weight.detach().numpy().tobytes() for weight in self._model.parameters()]
        return hashlib.sha256(b"".join(weights)).hexdigest()
