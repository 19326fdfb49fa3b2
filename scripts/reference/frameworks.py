"""Reference of the numbers that frameworks log: the field that each becomes."""

from __future__ import annotations

from typing import Final

from esper_otel.events import Scalar
from esper_otel.frameworks.scalars import MOST_TAGS
from esper_otel.frameworks.tags import TAGS
from esper_otel.signals.registry import SIGNALS
from esper_otel.sql.views.view import view_name
from scripts.reference.tables import table

INTRODUCTION: Final = f"""\
# Numbers of frameworks

Generated from `esper_otel/frameworks/tags.py` by `make generate`; do not edit.

What a program logs under one of these names, by its framework's logger or by `add_scalar` of TensorBoard or `log` of
wandb, becomes a field of an event ([any trainer](../guides/any-trainer.md#rl-in-four-lines)). Every other name becomes
a `{Scalar.event_type}`: view `{view_name(Scalar)}`, metric `tolaria_scalar` with a label `tag`, at most {MOST_TAGS}
names a process."""

NOTES: Final = """\
The numbers are the framework's own, and so is their meaning where it differs from that of our trainer:

* Stable-Baselines3's `train/approx_kl` is the mean of an update's last epoch, its other numbers are of all epochs;
  CleanRL's KL, entropy and losses are those of the last mini-batch, its clip fraction is the mean of all.
* Stable-Baselines3's `train/value_loss` is the whole mean squared error, CleanRL's half of it.
* `train/entropy_loss` of Stable-Baselines3 is the negative entropy, without its coefficient: `entropy` is its negative.
* The names of TRL count where a trainer of transformers logs them whose class is called `…GRPOTrainer`, `…RLOOTrainer`
  or `…PPOTrainer`, or is derived from one. Its numbers are means over the updates since the last log, but for
  `grad_norm`, which is that of the last one, before clipping. `clip_ratio/…` counts only steps that lose their gradient
  by it. PPO's are means of all its mini-batches; TRL had it up to 1.12.
* `loss` of GRPO and RLOO is the whole loss, with the distance from a reference model (`beta`) where that is part of
  it. Where TRL logs `policy_loss` as well, that is taken, and `loss` is a scalar.
* `kl` and `objective/kl` of TRL are distances from a reference model, not the KL of an update: they are scalars, as are
  rewards, lengths and whatever an evaluation logs (`eval_…`).
* An event of an algorithm without rollouts (SAC, TD3, DQN) reports its last update, as often as the program logs.
"""


def markdown() -> str:
    """The page ``docs/reference/frameworks.md``."""
    rows = [
        (tag.framework, f"`{tag.name}`", f"`{tag.event.event_type}`", _field(tag.field, tag.scale), _metrics(tag.field))
        for tag in TAGS
    ]
    lines = [INTRODUCTION, *table(("framework", "name", "event", "field", "metrics"), rows), NOTES]
    return "\n".join(lines).rstrip("\n") + "\n"


def _field(name: str, scale: float) -> str:
    return f"`{name}`" if scale == 1 else f"`{name}` = {scale:g} × the number"


def _metrics(field: str) -> str:
    events = {tag.event for tag in TAGS if tag.field == field}
    return ", ".join(
        f"`{signal.prometheus_name}`" for signal in SIGNALS if signal.event in events and signal.field == field
    )
