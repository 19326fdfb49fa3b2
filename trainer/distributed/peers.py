"""The processes that train one policy together, and the few things that they must agree on.

Every rank plays its own environments and keeps its own copy of the policy. The copies stay equal because all of them
begin with the same weights and take the same steps: gradients are averaged before they are clipped, and every decision
that ends an update early is taken together.

Gradients go through one all-reduce of a flat buffer instead of ``DistributedDataParallel``: the policy has some ten
thousand parameters, so there is no communication to hide behind the backward pass; clipping needs the whole averaged
gradient anyway; and the policy is called through ``log_probs`` and ``value``, which that wrapper does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn


class Peers(Protocol):
    """Operations over all ranks. Every rank has to call the same ones in the same order.

    Attributes:
        rank: this process, from 0.
        local_rank: this process on its machine, from 0.
        world_size: processes.
    """

    rank: int
    local_rank: int
    world_size: int

    def average_gradients(self, parameters: Sequence[nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """Put the mean of all ranks' gradients in place of this rank's; returns the mean of their losses, a scalar.

        One that is not finite anywhere is not finite everywhere, so that all ranks skip the same steps.
        """
        ...

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [N, ..] of all ranks, [world_size * N, ..] in the order of ranks; N is the same on all."""
        ...

    def mean(self, value: float) -> float:
        """Mean of a number over all ranks, the same on all. Waits for them."""
        ...

    def check_equal(self, digest: str, what: str) -> None:
        """Check that all ranks have the same ``what``. Waits for them.

        Raises:
            PeersDifferError: they do not.
        """
        ...


class PeerLostError(RuntimeError):
    """Another rank is gone, or the connection to it is."""


class PeersDifferError(RuntimeError):
    """Ranks that must hold the same thing do not."""


class Alone:
    """A run of one process: the mean of one is itself."""

    rank = 0
    local_rank = 0
    world_size = 1

    def average_gradients(self, parameters: Sequence[nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        return loss

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows."""
        return rows

    def mean(self, value: float) -> float:
        """Return the value."""
        return value

    def check_equal(self, digest: str, what: str) -> None:
        """Compare with nothing."""
