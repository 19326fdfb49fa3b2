"""esper-lite's own training on its own mock data: its command line, or the arms of an A/B run one after the other.

    python train_on_mock_data.py ppo --task cifar_minimal …
    python train_on_mock_data.py ab TELEMETRY_DIR

Nothing of it is changed but the data set and its batch size. At the end its hub's own statistics are printed.
"""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any

import torch
from esper.nissa import DirectoryOutput, get_hub  # type: ignore[import-not-found]
from esper.runtime import tasks  # type: ignore[import-not-found]

STATISTICS = "hub statistics: "
BATCH_SIZE = 50
"""Small enough for its 1,000 mock images to fill a batch of every environment."""


def use_mock_data() -> None:
    """Make its smallest task read random images instead of downloading CIFAR-10."""
    real = tasks._cifar_minimal_spec

    def on_mock_data() -> Any:
        spec = real()
        spec.dataloader_defaults.update(mock=True, batch_size=BATCH_SIZE)
        return spec

    tasks._cifar_minimal_spec = on_mock_data


def train_both_arms(telemetry_dir: str) -> None:
    """Its A/B training, which its command line refuses on a CPU."""
    from esper.simic.training.dual_ab import train_dual_policy_ab  # type: ignore[import-not-found]

    hub = get_hub()
    hub.add_backend(DirectoryOutput(telemetry_dir))
    try:
        train_dual_policy_ab(
            n_envs_per_group=2,
            devices=["cpu", "cpu"],
            n_episodes=2,
            max_epochs=12,
            task="cifar_minimal",
            lstm_hidden_dim=64,
            slots=["r0c0", "r0c1"],
            num_workers=0,
            compile_mode="off",
        )
    finally:
        hub.close()


def main() -> None:
    torch.set_num_threads(1)
    use_mock_data()
    try:
        if sys.argv[1] == "ab":
            train_both_arms(sys.argv[2])
        else:
            sys.argv[0] = "esper.scripts.train"
            runpy.run_module("esper.scripts.train", run_name="__main__", alter_sys=True)
    finally:
        print(STATISTICS + json.dumps(get_hub().get_backend_stats()), flush=True)


main()
