"""Adapters: what other people's frameworks measure, as our events.

An adapter is installed when the program has imported its framework, never before. It reads numbers that the framework
computed for itself, and nothing in it raises into training.
"""

from typing import Final

SWITCH: Final = "ESPER_OTEL_FRAMEWORKS"

LIGHTNING: Final = "trainer.connectors.logger_connector.logger_connector"

ADAPTERS: Final = (
    ("stable_baselines3.common.logger", "stable_baselines", "install_logger"),
    ("stable_baselines3.common.callbacks", "stable_baselines", "install_callbacks"),
    ("stable_baselines3.common.base_class", "stable_baselines", "install_episodes"),
    ("torch.utils.tensorboard.writer", "tensorboard", "install_torch"),
    ("tensorboardX.writer", "tensorboard", "install_tensorboardx"),
    ("wandb.sdk.wandb_run", "wandb", "install"),
    ("transformers.trainer", "transformers", "install"),
    (f"lightning.pytorch.{LIGHTNING}", "lightning", "install"),
    (f"pytorch_lightning.{LIGHTNING}", "lightning", "install_pytorch_lightning"),
)
"""Module of a framework, the adapter in this package, and its function to call once that module is imported."""
