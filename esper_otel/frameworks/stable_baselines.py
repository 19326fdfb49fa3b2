"""Stable-Baselines3 and what is built on it: the numbers of its logger, and the episodes of its environments.

``train()`` records into the logger, which is printed and emptied only after the next rollout. The numbers of an update
are taken when that rollout begins, at once; those of off-policy algorithms, which update at every step, when the
logger is printed.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any, Final

from esper_otel.events import EpisodeOutcome
from esper_otel.frameworks.scalars import SCALARS
from esper_otel.frameworks.wrapping import look_after, look_before_and_mute

_UPDATES: Final = "train/n_updates"
_ENTROPY_COEF: Final = "train/ent_coef"
_taken: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""Number of the update that was taken last, by logger."""


def install_logger() -> None:
    """Take what is printed."""
    look_before_and_mute(sys.modules["stable_baselines3.common.logger"].Logger, "dump", _printed)


def install_callbacks() -> None:
    """Take an update when the rollout after it begins, and the last one."""
    callback = sys.modules["stable_baselines3.common.callbacks"].BaseCallback
    look_after(callback, "on_rollout_start", _updated)
    look_after(callback, "on_training_end", _updated)


def install_episodes() -> None:
    """Take the episodes that end."""
    look_after(sys.modules["stable_baselines3.common.base_class"].BaseAlgorithm, "_update_info_buffer", _episodes)


def _updated(callback: Any) -> None:
    model = callback.model
    logger = model.logger
    number = logger.name_to_value.get(_UPDATES)
    if getattr(model, "rollout_buffer", None) is None or number is None or _taken.get(logger) == number:
        return
    _taken[logger] = number
    values = {name: value for name, value in logger.name_to_value.items() if name.startswith("train/")}
    values.setdefault(_ENTROPY_COEF, getattr(model, "ent_coef", None))  # which PPO and A2C have and do not log
    SCALARS.take(values, int(model.num_timesteps), is_whole=True)


def _printed(logger: Any, step: Any = 0) -> None:
    values = dict(logger.name_to_value)
    if _UPDATES in values and _taken.get(logger) == values[_UPDATES]:
        values = {name: value for name, value in values.items() if not name.startswith("train/")}
    SCALARS.take(values, int(step), is_whole=True)


def _episodes(model: Any, infos: Any, *_: Any, **__: Any) -> None:
    for env_id, info in enumerate(infos):
        if (episode := info.get("episode")) is not None:
            SCALARS.emit(
                EpisodeOutcome(
                    env_id=env_id,
                    episode_reward=float(episode["r"]),
                    episode_length=int(episode["l"]),
                    env_steps=int(model.num_timesteps),
                )
            )
