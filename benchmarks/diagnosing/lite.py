"""esper-lite's own command line on its own mock data, healthy or with one fault that comes from outside.

    ESPER_LITE_SRC=/path/to/esper-lite python -m benchmarks.diagnosing.lite FAULT --seed 1

Nothing of its files is changed. Faults are settings in the JSON file that its ``--config-json`` reads, or wrappers
around its data set and its rewards. Our instrumentor records it.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.data import Dataset

from esper_otel.esper_lite.producer.instrumentor import EsperLiteInstrumentor

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "lr_x30": {"lr": 30 * 3e-4},
    "frozen_critic": {"value_coef": 0.0},
}
"""Faults that are settings of its configuration, which refuses an entropy coefficient of the wrong sign."""

WRAPPED: Final = ("slow_loader", "nan_input", "killed", "raised", "nan_reward", "huge_reward")
"""Faults that a wrapper injects: the first four around its data set, the others around its rewards."""

FAULTS: Final = ("none", *SETTINGS, *WRAPPED)
IMAGES: Final = 100
BATCH: Final = 25
DELAY_S: Final = 0.01
"""Of one image, with a slow loader."""


def _source() -> str:
    """The directory of esper-lite's packages."""
    return str(Path(os.environ["ESPER_LITE_SRC"]) / "src")


sys.path.insert(0, _source())
from esper.runtime import tasks  # type: ignore[import-not-found]  # noqa: E402
from esper.simic.training import (  # type: ignore[import-not-found]  # noqa: E402
    action_execution,
    vectorized,  # noqa: F401  # imported once for all runs
)


class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The first of its mock images; with a fault from the image ``hit_at`` on that is read."""

    def __init__(self, mock: Any, fault: str, hit_at: int) -> None:
        """Around ``mock``, esper-lite's own data set."""
        self.mock, self.fault, self.hit_at = mock, fault, hit_at
        self.read = 0

    def __len__(self) -> int:
        """Number of images."""
        return min(IMAGES, len(self.mock))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One image and its label."""
        if index >= len(self):
            raise IndexError(index)
        self.read += 1
        image, label = self.mock[index]
        if self.fault == "slow_loader":
            time.sleep(DELAY_S)
        if self.read > self.hit_at:
            image = self._hit(image)
        return image, label

    def _hit(self, image: torch.Tensor) -> torch.Tensor:
        if self.fault == "killed":
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "raised":
            raise RuntimeError("the data set is gone")
        return image * torch.nan if self.fault == "nan_input" else image


def _wrap_data(fault: str, hit_at: int) -> None:
    """Let its smallest task read mock images, fewer of them, through the fault."""
    real = tasks._cifar_minimal_spec
    given = tasks.TaskSpec.get_datasets

    def on_mock_data() -> Any:
        spec = real()
        spec.dataloader_defaults.update(mock=True, batch_size=BATCH)
        return spec

    def datasets(spec: Any) -> tuple[Images, Images]:
        train, test = given(spec)
        return Images(train, fault, hit_at), Images(test, "none", 0)

    tasks._cifar_minimal_spec = on_mock_data
    tasks.TaskSpec.get_datasets = datasets


def _wrap_rewards(fault: str, hit_at: int) -> None:
    """Spoil its rewards from the one numbered ``hit_at`` on."""
    real: Callable[..., Any] = action_execution.compute_reward
    given = 0

    def spoilt(*arguments: Any, **options: Any) -> Any:
        nonlocal given
        given += 1
        result = real(*arguments, **options)
        if given <= hit_at:
            return result
        factor = float("nan") if fault == "nan_reward" else 1e4
        return (result[0] * factor, *result[1:]) if isinstance(result, tuple) else result * factor

    action_execution.compute_reward = spoilt


def main() -> int:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--envs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4, help="epochs of an episode")
    parser.add_argument("--reward-mode", default="shaped")
    parser.add_argument("--passes", type=int, default=1, help="passes over the data of an update")
    parser.add_argument("--slots", nargs="+", default=["r0c1"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = options.rounds * options.epochs
    fault = options.fault
    _wrap_data(fault if fault in WRAPPED else "none", int(0.6 * steps * IMAGES))
    if fault.endswith("_reward"):
        _wrap_rewards(fault, int(0.6 * steps * options.envs))
    EsperLiteInstrumentor().instrument(skip_dep_check=True)
    chosen = {"entropy_coef": 0.1, "plateau_threshold": 0.4, "reward_mode": options.reward_mode}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(
            chosen | {"slots": options.slots, "recurrent_n_epochs": options.passes} | SETTINGS.get(fault, {}), file
        )
        file.flush()
        size = ["--rounds", str(options.rounds), "--envs", str(options.envs), "--episode-length", str(options.epochs)]
        place = ["--device", "cpu", "--devices", "cpu", "--compile-mode", "off", "--num-workers", "0", "--no-tui"]
        sys.argv = ["esper.scripts.train", "ppo", "--config-json", file.name, "--task", "cifar_minimal", *size, *place]
        sys.argv += ["--memory-size", "64", "--seed", str(options.seed)]
        runpy.run_module("esper.scripts.train", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
