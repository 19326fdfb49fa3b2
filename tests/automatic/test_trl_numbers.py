"""Policy updates from the logs of TRL's trainers, which are those of real runs, as TRL made them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import esper_otel.frameworks.transformers as module
from esper_otel.events import PolicyUpdate, Scalar
from esper_otel.frameworks.scalars import Scalars
from esper_otel.testing import RecordedRun, record_events

LOGS: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("trl_logs.json").read_text())
"""By trainer and its options: TRL 1.16 (GRPO, RLOO) and 1.12 (PPO), each log with the step that it was made at."""

ALL_OF_GRPO = {
    "clip_fraction": "clip_ratio/region_mean",
    "clip_fraction_negative": "clip_ratio/low_mean",
    "clip_fraction_positive": "clip_ratio/high_mean",
    "entropy": "entropy",
    "policy_loss": "loss",
    "pre_clip_grad_norm": "grad_norm",
    "lr": "learning_rate",
}
FIELDS = {
    "GRPOTrainer": ALL_OF_GRPO,
    "RLOOTrainer": ALL_OF_GRPO,
    "GRPOTrainer with an entropy bonus": ALL_OF_GRPO | {"policy_loss": "policy_loss", "entropy_coef": "entropy_coef"},
    "PPOTrainer": {
        "kl_divergence": "policy/approxkl_avg",
        "clip_fraction": "policy/clipfrac_avg",
        "entropy": "policy/entropy_avg",
        "policy_loss": "loss/policy_avg",
        "value_loss": "loss/value_avg",
        "ratio_mean": "val/ratio",
        "lr": "lr",
    },
}


def replayed(trainer_class: str, logs: list[dict[str, Any]], patch: pytest.MonkeyPatch) -> RecordedRun:
    """The events of logs that a trainer of this class gives to ``Trainer.log``."""

    class Trainer:
        """The protocol of transformers'."""

        def __init__(self) -> None:
            self.state = SimpleNamespace(global_step=0)

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            self.state.global_step += 0

    found = ModuleType("transformers.trainer")
    found.Trainer = Trainer  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "transformers.trainer", found)
    scalars = Scalars()
    scalars.start(lambda: True)
    patch.setattr(module, "SCALARS", scalars)
    module.install()
    trainer = type("Own", (type(trainer_class, (Trainer,), {}),), {})()
    with record_events() as run:
        for log in logs:
            trainer.state.global_step = log["step"]
            trainer.log({name: value for name, value in log.items() if name != "step"}, 0.0)
        return run


def is_update(log: dict[str, Any]) -> bool:
    return "entropy" in log or "policy/entropy_avg" in log


@pytest.mark.parametrize("name", FIELDS)
def test_each_log_of_an_update_is_one_event_with_its_numbers_and_no_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, fields = LOGS[name], FIELDS[name]
    run = replayed(name.partition(" ")[0], logs, monkeypatch)

    expected = [
        PolicyUpdate(env_steps=log["step"], **{field: log[tag] for field, tag in fields.items()})
        for log in logs
        if is_update(log)
    ]
    assert len(expected) >= 4
    assert [event for event in run.events if isinstance(event, PolicyUpdate)] == expected


@pytest.mark.parametrize("name", FIELDS)
def test_every_other_number_is_a_scalar_the_distance_from_a_reference_model_and_evaluations_among_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = LOGS[name]
    run = replayed(name.partition(" ")[0], logs, monkeypatch)

    tags = {event.tag for event in run.events if isinstance(event, Scalar)}
    assert tags == {tag for log in logs for tag in log} - set(FIELDS[name].values()) - {"step"}
    assert ({"objective/kl", "objective/scores"} if name == "PPOTrainer" else {"kl", "reward", "eval_entropy"}) <= tags


def test_the_same_names_mean_no_policy_where_another_trainer_logs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    run = replayed("SFTTrainer", [{"loss": 2.0, "grad_norm": 1.0, "entropy": 3.0, "step": 5}], monkeypatch)

    assert {type(event) for event in run.events} == {Scalar}
    assert len(run.events) == 3


def test_a_number_that_was_not_measured_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    log = {"loss": 0.5, "entropy": 1.5, "clip_ratio/region_mean": None, "step": 3}

    assert replayed("GRPOTrainer", [log], monkeypatch).events == [
        PolicyUpdate(policy_loss=0.5, entropy=1.5, env_steps=3)
    ]
