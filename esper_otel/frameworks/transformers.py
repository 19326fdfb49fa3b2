"""The Trainer of transformers, and what is built on it: what it logs, to whomever.

TRL's trainers of policies log their updates that way, under names that mean nothing of the kind elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from esper_otel.frameworks.scalars import SCALARS
from esper_otel.frameworks.tags import BY_NAME, OF_TRL, Tag
from esper_otel.frameworks.wrapping import look_after

POLICY_TRAINERS: Final = ("GRPOTrainer", "RLOOTrainer", "PPOTrainer")
"""Ends of the names of classes that train a policy: TRL's, its experimental ones and others built on them."""

_WITHOUT_WHOLE_LOSS: Final = {name: tag for name, tag in OF_TRL.items() if name != "loss"}


def install() -> None:
    """Take what is logged."""
    look_after(sys.modules["transformers.trainer"].Trainer, "log", _logged, mutes=True)


def _logged(trainer: Any, logs: Any, *_: Any, **__: Any) -> None:
    SCALARS.take(logs, int(trainer.state.global_step), is_whole=True, names=_names(type(trainer), logs))


def _names(trainer: type, logs: Mapping[str, Any]) -> Mapping[str, Tag]:
    """Names of fields: a loss that has further terms is not that of the policy where that is logged as well."""
    if not any(one.__name__.endswith(POLICY_TRAINERS) for one in trainer.__mro__):
        return BY_NAME
    return _WITHOUT_WHOLE_LOSS if "policy_loss" in logs else OF_TRL
