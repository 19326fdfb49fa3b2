"""Observations: an environment as the policy sees it."""

from __future__ import annotations

from typing import Final

from trainer.kasmina.lifecycle import Lifecycle
from trainer.kasmina.stages import Stage
from trainer.tamiyo.actions import BLUEPRINT_IDS
from trainer.tolaria.environment import Environment

_STAGES: Final = tuple(Stage)


def features(env: Environment) -> list[float]:
    """Raw observation of one environment, finite numbers of order one."""
    host = [
        env.val_accuracy / 100.0,
        env.val_loss,
        env.last_train_loss,
        env.last_delta / 10.0,
        (env.best_accuracy - env.val_accuracy) / 10.0,
        (env.val_accuracy - env.initial_accuracy) / 50.0,
    ]
    context = [
        env.inner_epoch / env.settings.episode_length,
        float(env.stability.is_stable),
        float(env.cooldown > 0),
        env.growing_count / len(env.lives),
        len(env.fossilized) / len(env.lives),
        env.host.seed_parameter_count / env.settings.param_budget,
    ]
    return host + context + [value for life in env.lives.values() for value in _slot_features(life)]


def _slot_features(life: Lifecycle) -> list[float]:
    stage = [float(life.stage is stage) for stage in _STAGES]
    record = life.record
    if record is None or life.slot.seed is None:
        return stage + [0.0] * (len(BLUEPRINT_IDS) + 8)
    blueprint = [float(record.blueprint_id == name) for name in BLUEPRINT_IDS]
    return [
        *stage,
        *blueprint,
        life.slot.alpha,
        record.alpha_target,
        record.epochs_in_stage / 5.0,
        record.improvement / 20.0,
        (record.contribution or 0.0) / 20.0,
        (record.contribution_velocity or 0.0) / 10.0,
        min(record.grad_ratio or 0.0, 10.0) / 10.0,
        float(record.is_leaving),
    ]
