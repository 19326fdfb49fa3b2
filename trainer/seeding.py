"""Random streams by name, so that an extra draw in one place never shifts the draws of another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: str | int) -> int:
    """Seed of a named stream, an unsigned 64-bit integer that depends on ``parts`` alone."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` that starts at ``seed``."""
    return torch.Generator(device=device).manual_seed(seed)


@contextmanager
def seeded_init(seed: int) -> Iterator[None]:
    """Initialise modules from ``seed`` and leave the global stream as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
