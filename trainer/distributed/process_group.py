"""Ranks connected by torch.distributed: gloo between CPUs, NCCL between GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch import nn

from trainer.distributed.peers import Alone, PeerLostError, Peers, PeersDifferError

PATIENCE: Final = timedelta(minutes=5)
"""Longest wait for the slowest rank: rounds of different ranks differ by seconds, a compilation by a minute."""


class Ranks:
    """The peers of a rank that torchrun started."""

    def __init__(self, rank: int, local_rank: int, world_size: int, device: torch.device) -> None:
        """Numbers that must be exchanged travel on ``device``."""
        self.rank = rank
        self.local_rank = local_rank
        self.world_size = world_size
        self.device = device

    def average_gradients(self, parameters: Sequence[nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """See :class:`Peers`. One all-reduce, the loss in front."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([loss.detach().reshape(1), *(grad.reshape(-1) for grad in grads)])
        self._sum(flat)
        flat /= self.world_size
        start = 1
        for grad in grads:
            grad.copy_(flat[start : start + grad.numel()].view_as(grad))
            start += grad.numel()
        return flat[0]

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """See :class:`Peers`."""
        rows = rows.contiguous()
        everyone = [torch.empty_like(rows) for _ in range(self.world_size)]
        with self._told_of_loss():
            dist.all_gather(everyone, rows)
        return torch.cat(everyone)

    def mean(self, value: float) -> float:
        """See :class:`Peers`."""
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        self._sum(total)
        return float(total) / self.world_size

    def check_equal(self, digest: str, what: str) -> None:
        """See :class:`Peers`."""
        own = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=self.device)
        digests = [bytes(row.tolist()).hex() for row in self.gather(own[None])]
        if len(set(digests)) > 1:
            listed = ", ".join(f"rank {rank} {found[:12]}" for rank, found in enumerate(digests))
            raise PeersDifferError(f"the ranks have different {what}: {listed}")

    def _sum(self, values: torch.Tensor) -> None:
        with self._told_of_loss():
            dist.all_reduce(values)

    @contextmanager
    def _told_of_loss(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise PeerLostError(f"rank {self.rank} lost contact with the other ranks: {reason}") from error


@contextmanager
def joined(device: torch.device, environment: Mapping[str, str] | None = None) -> Iterator[Peers]:
    """The peers given by torchrun's variables, while the block lasts; a single process without them.

    Raises:
        PeerLostError: the other ranks did not join.
    """
    env = os.environ if environment is None else environment
    world_size = int(env.get("WORLD_SIZE") or 1)
    if world_size == 1:
        yield Alone()
        return
    rank, local_rank = int(env["RANK"]), int(env.get("LOCAL_RANK", env["RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise PeerLostError(f"rank {rank} cannot join the other ranks: {error}") from error
    is_whole = True
    try:
        yield Ranks(rank, local_rank, world_size, device)
    except PeerLostError:
        is_whole = False
        raise
    finally:
        # With a peer gone, gloo's threads can abort the process while the group is taken down, before the run could
        # say how it ended; the end of the process takes it down as well.
        if is_whole:
            dist.destroy_process_group()
