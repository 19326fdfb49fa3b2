"""Numbers that a program logs for TensorBoard become policy updates, episodes and scalars."""

from __future__ import annotations

import math
import subprocess
import sys
from types import ModuleType

import pytest

import esper_otel.frameworks.scalars as module
from esper_otel.events import PolicyUpdate, Scalar, SensorFault
from esper_otel.frameworks import ADAPTERS, tensorboard
from esper_otel.frameworks.scalars import MOST_TAGS, Scalars
from esper_otel.frameworks.tags import BY_NAME, OF_TRL, TAGS
from esper_otel.frameworks.tensorboard import install_torch
from esper_otel.testing import RecordedRun, record_events
from tests.tools import python_environment
from tests.waiting import PATIENCE_S, wait_for


@pytest.fixture
def run() -> RecordedRun:
    with record_events() as run:
        yield run


@pytest.fixture
def scalars() -> Scalars:
    scalars = Scalars()
    scalars.start(lambda: True)
    return scalars


def test_the_numbers_of_one_step_are_one_update_with_nothing_that_was_not_measured(
    run: RecordedRun, scalars: Scalars
) -> None:
    scalars.take({"losses/approx_kl": 0.01}, 128)
    scalars.take({"losses/clipfrac": 0.25}, 128)
    scalars.take({"losses/approx_kl": 0.02}, 256)
    scalars.flush()

    assert run.events == [
        PolicyUpdate(kl_divergence=0.01, clip_fraction=0.25, env_steps=128),
        PolicyUpdate(kl_divergence=0.02, env_steps=256),
    ]


def test_two_episodes_that_end_at_one_step_are_two(run: RecordedRun, scalars: Scalars) -> None:
    for reward, length in ((1.0, 10), (2.0, 20)):
        scalars.take({"charts/episodic_return": reward}, 64)
        scalars.take({"charts/episodic_length": length}, 64)
    scalars.flush()

    assert [(event.episode_reward, event.episode_length) for event in run.events] == [(1.0, 10), (2.0, 20)]


def test_an_update_is_complete_when_nothing_more_is_logged_for_a_while(
    run: RecordedRun, scalars: Scalars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.05)
    scalars.take({"losses/approx_kl": 0.01}, 128)
    wait_for(lambda: run.events, "the update")
    scalars.take({"losses/approx_kl": 0.02}, 256)
    wait_for(lambda: len(run.events) == 2, "the next update")


def test_a_learning_rate_alone_is_no_update_of_a_policy(run: RecordedRun, scalars: Scalars) -> None:
    scalars.take({"charts/learning_rate": 0.1}, 1, is_whole=True)

    assert run.events == [Scalar(tag="charts/learning_rate", value=0.1, step=1)]


def test_tags_beyond_the_limit_are_counted_and_said_once(
    run: RecordedRun, scalars: Scalars, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(MOST_TAGS + 7):
        scalars.take({f"own/{number}": number}, 1)
    scalars.take({"own/0": 1.0}, 2)
    scalars.flush()

    assert len({event.tag for event in run.events if isinstance(event, Scalar)}) == MOST_TAGS
    assert run.events[MOST_TAGS] == Scalar(tag="own/0", value=1.0, step=2)
    (fault,) = (event for event in run.events if isinstance(event, SensorFault))
    assert (fault.reason, fault.count) == ("too_many_tags", 7)
    assert capfd.readouterr().err.count("are not recorded") == 1


def test_what_is_no_number_is_passed_over(run: RecordedRun, scalars: Scalars) -> None:
    class Odd:
        def __float__(self) -> float:
            raise KeyError("odd")

    scalars.take({"a": "text", "b": Odd(), "c": None, "d": [1, 2], "e": math.nan}, 1)

    (event,) = run.events
    assert isinstance(event, Scalar)
    assert event.tag == "e"
    assert math.isnan(event.value or 0.0)


def test_numbers_that_were_taken_already_are_not_taken_from_another_writer(run: RecordedRun, scalars: Scalars) -> None:
    scalars.silently(lambda: scalars.take({"losses/approx_kl": 0.01}, 1, is_whole=True))
    assert run.events == []


def test_an_exception_of_ours_ends_the_recording_and_is_reported(
    run: RecordedRun, scalars: Scalars, capfd: pytest.CaptureFixture[str]
) -> None:
    scalars._add = None  # type: ignore[assignment,method-assign]
    scalars.take({"a": 1.0}, 1)
    scalars.take({"a": 1.0}, 2)

    (fault,) = run.events
    assert isinstance(fault, SensorFault)
    assert fault.reason == "unreadable"
    assert capfd.readouterr().err.count("not recorded any more") == 1


def test_each_tag_names_a_field_of_its_event_and_none_is_there_twice() -> None:
    assert len(BY_NAME) + len(OF_TRL) == len(TAGS)
    assert [tag.name for tag in TAGS if tag.field not in tag.event.__struct_fields__] == []


@pytest.mark.parametrize(("_", "adapter", "function"), ADAPTERS)
def test_every_adapter_in_the_table_exists(_: str, adapter: str, function: str) -> None:
    name = f"esper_otel.frameworks.{adapter}"
    __import__(name)
    assert callable(getattr(sys.modules[name], function))


def test_a_writer_is_called_as_ever_whatever_becomes_of_us(monkeypatch: pytest.MonkeyPatch) -> None:
    class SummaryWriter:
        """The protocol of torch's."""

        def add_scalar(
            self, tag: str, scalar_value: float, global_step: int | None = None, walltime: float | None = None
        ) -> str:
            return f"{tag} {scalar_value} {global_step} {walltime}"

    found = ModuleType("writer")
    found.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", found)
    monkeypatch.setattr(module.SCALARS, "_is_off", False)
    install_torch()

    assert SummaryWriter().add_scalar("a", 1.0, global_step="no number", walltime=2.0) == "a 1.0 no number 2.0"  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [None, "epoch 3", object(), float("nan")])
def test_a_step_that_is_no_number_is_left_out_and_its_number_kept(
    run: RecordedRun, scalars: Scalars, monkeypatch: pytest.MonkeyPatch, step: object
) -> None:
    monkeypatch.setattr(tensorboard, "SCALARS", scalars)

    tensorboard._written(None, "own/number", 0.5, step)

    assert run.events == [Scalar(tag="own/number", value=0.5)]


def test_the_adapters_import_neither_torch_nor_a_framework() -> None:
    modules = ", ".join(sorted({f"esper_otel.frameworks.{adapter}" for _, adapter, _ in ADAPTERS}))
    found = "{'torch', 'tensorboard', 'tensorboardX', 'stable_baselines3'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print({found})"],
        env=python_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout == "set()\n", done.stderr
