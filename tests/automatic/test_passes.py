"""Epochs and evaluations of a plain loop, as its data loaders show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from esper_otel.automatic.recorder import Recorder
from esper_otel.events import CheckpointLoaded, CheckpointSaved, LoaderPass
from esper_otel.testing import RecordedRun, record_events

LOADER: DataLoader[Any] = DataLoader(TensorDataset(torch.ones(12, 4)), batch_size=4)


class Loop:
    """A program that trains."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def update(self, batch: torch.Tensor) -> None:
        self.model(batch).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def epoch(self) -> None:
        for (batch,) in LOADER:
            self.update(batch)


def recorded(program: Callable[[Loop], object]) -> RecordedRun:
    """Events of a program from its beginning to its end."""
    with record_events() as run:
        recorder = Recorder(lambda: True)
        recorder.start()
        try:
            program(Loop())
        finally:
            recorder.stop()
    return run


def passes(run: RecordedRun) -> list[tuple[str | None, int | None, int | None, int | None, int | None]]:
    return [
        (event.kind, event.number, event.batches, event.samples, event.updates)
        for event in run.events
        if isinstance(event, LoaderPass)
    ]


def kinds(program: Callable[[Loop], object]) -> list[str | None]:
    return [kind for kind, *_ in passes(recorded(program))]


def test_a_full_pass_with_updates_is_an_epoch_and_the_first_counts() -> None:
    def program(loop: Loop) -> None:
        loop.epoch()
        loop.epoch()

    run = recorded(program)
    assert passes(run) == [("epoch", 1, 3, 12, 3), ("epoch", 2, 3, 12, 3)]
    durations = [event.duration_ms or 0.0 for event in run.events if isinstance(event, LoaderPass)]
    assert min(durations) > 0.0


def test_a_pass_that_the_program_leaves_early_is_no_epoch() -> None:
    def program(loop: Loop) -> None:
        for (batch,) in LOADER:
            loop.update(batch)
            break

    assert kinds(program) == []


def test_a_wrapper_that_is_a_batch_ahead_still_has_all_its_updates_in_the_epoch() -> None:
    def ahead() -> Iterator[torch.Tensor]:
        iterator = iter(LOADER)
        (following,) = next(iterator)
        for (batch,) in iterator:
            yield following
            following = batch
        yield following

    def program(loop: Loop) -> None:
        for _ in range(2):
            for batch in ahead():
                loop.update(batch)

    assert passes(recorded(program)) == [("epoch", 1, 3, 12, 3), ("epoch", 2, 3, 12, 3)]


def test_a_pass_without_gradients_or_of_a_model_in_evaluation_mode_is_an_evaluation() -> None:
    def program(loop: Loop) -> None:
        loop.epoch()
        with torch.no_grad():
            for (batch,) in LOADER:
                loop.model(batch)
        with torch.inference_mode():
            for (batch,) in LOADER:
                loop.model(batch)
        loop.model.eval()
        for (batch,) in LOADER:
            with torch.no_grad():
                loop.model(batch)
        loop.model.train()
        loop.epoch()

    assert passes(recorded(program)) == [
        ("epoch", 1, 3, 12, 3),
        ("evaluation", 1, 3, 12, 0),
        ("evaluation", 2, 3, 12, 0),
        ("evaluation", 3, 3, 12, 0),
        ("epoch", 2, 3, 12, 3),
    ]


def test_an_evaluation_in_the_middle_of_an_epoch_is_one_of_its_own() -> None:
    def program(loop: Loop) -> None:
        for (batch,) in LOADER:
            loop.update(batch)
            with torch.no_grad():
                list(LOADER)

    assert kinds(program) == ["evaluation"] * 3 + ["epoch"]


def test_a_pass_that_may_be_anything_is_left_out() -> None:
    def program(loop: Loop) -> None:
        loop.epoch()
        list(LOADER)  # gradients are on, the model trains: an evaluation, a statistic or a search for a fault

    assert kinds(program) == ["epoch"]


def test_workers_that_live_on_begin_a_new_pass_each_time() -> None:
    def program(loop: Loop) -> None:
        loader: DataLoader[Any] = DataLoader(LOADER.dataset, batch_size=4, num_workers=1, persistent_workers=True)
        for (batch,) in loader:
            loop.update(batch)
            break
        for (batch,) in loader:
            loop.update(batch)

    assert passes(recorded(program)) == [("epoch", 1, 3, 12, 3)]


def test_saving_and_loading_a_checkpoint_are_timed(tmp_path: Path) -> None:
    def program(loop: Loop) -> None:
        loop.epoch()
        torch.save(loop.model.state_dict(), tmp_path / "a.pt")
        loop.model.load_state_dict(torch.load(tmp_path / "a.pt"))

    found = [event for event in recorded(program).events if isinstance(event, CheckpointSaved | CheckpointLoaded)]
    assert [type(event) for event in found] == [CheckpointSaved, CheckpointLoaded]
    assert min(event.duration_ms or 0.0 for event in found) > 0.0
