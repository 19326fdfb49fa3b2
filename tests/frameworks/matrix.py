"""Programs of every kind, unchanged: part of ``make frameworks``. Each is run without us and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.frameworks.campaign import installed
from tests.frameworks.ledger import keep
from tests.frameworks.rows import Case, of_framework, of_torch, row_of

__all__ = ["installed"]

CASES: dict[str, Case] = {
    "PPO in one file, as CleanRL's": of_framework("cleanrl_ppo.py", updates=64),
    "Stable-Baselines3 PPO": of_framework("sb3.py"),
    "Lightning fit": of_framework("fit.py"),
    "Lightning ddp, 2 processes": of_framework("fit.py", "2", updates=8),
    "HF Trainer": of_framework("hf.py"),
    "accelerate": of_framework("accelerated.py", updates=8),
    "nanoGPT-like loop": of_torch("gpt.py"),
    "nanoGPT-like, torch.compile": of_torch("gpt.py", "--inductor"),
    "nanoGPT-like, torchrun, 2 processes": of_torch("gpt.py", torchrun=2),
    "FSDP2, 2 processes": of_torch("sharded.py", updates=6, torchrun=2),
    "GAN, two optimizers": of_torch("gan.py", updates=32),
    "AMP with GradScaler": of_torch("gpt.py", "--amp"),
    "LBFGS": of_torch("lbfgs.py", updates=6),
}
"""Every row of ``docs/evidence/frameworks.md``; one of TRL would be ``of_framework("its_file.py")``."""


@pytest.mark.parametrize("name", CASES)
def test_an_unchanged_program_is_recorded_whole_and_trains_as_without_us(name: str, tmp_path: Path) -> None:
    row = row_of(name, CASES[name], tmp_path)
    keep(row)

    assert row.wrong() == []
