"""The hooks in this process: what they leave as it was."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator

import pytest
import torch

from esper_otel.automatic.models import models_of
from esper_otel.automatic.recorder import Recorder
from esper_otel.testing import RecordedRun, record_events


@pytest.fixture
def run() -> Iterator[RecordedRun]:
    with record_events() as run:
        yield run


@pytest.fixture
def recorder(run: RecordedRun) -> Iterator[Recorder]:
    recorder = Recorder(lambda: True)
    recorder.start()
    yield recorder
    recorder.stop()


@pytest.mark.usefixtures("recorder")
def test_a_reference_to_torch_save_can_be_pickled_and_a_checkpoint_in_memory_is_none(run: RecordedRun) -> None:
    save, load = pickle.loads(pickle.dumps((torch.save, torch.load)))
    memory = io.BytesIO()
    save({"a": torch.ones(1)}, memory)
    memory.seek(0)

    assert load(memory) == {"a": torch.ones(1)}
    assert run.events == []


def test_after_the_end_torch_is_as_it_was() -> None:
    before = (torch.save, torch.load, torch.autograd.backward, torch.utils.data.dataloader._BaseDataLoaderIter.__next__)
    recorder = Recorder(lambda: True)
    recorder.start()
    assert torch.save is not before[0]
    recorder.stop()

    assert (
        torch.save,
        torch.load,
        torch.autograd.backward,
        torch.utils.data.dataloader._BaseDataLoaderIter.__next__,
    ) == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_compiled_function_that_calls_backward_has_as_many_graphs_as_without() -> None:
    def graphs(is_recording: bool) -> int:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        recorder = Recorder(lambda: True) if is_recording else None
        if recorder is not None:
            recorder.start()
        model = torch.nn.Linear(4, 1)

        def step(inputs: torch.Tensor) -> torch.Tensor:
            loss = model(inputs).square().mean()
            loss.backward()
            return torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)

        compiled = torch.compile(step, backend="eager")
        for _ in range(2):
            compiled(torch.ones(2, 4))
        if recorder is not None:
            recorder.stop()
        return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    assert graphs(True) == graphs(False) > 0


class Agent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.ModuleDict({"actor": torch.nn.Linear(2, 2), "critic": torch.nn.Linear(2, 1)})


def test_the_model_of_an_optimizer_is_the_smallest_that_has_its_parameters_and_the_outermost_of_those() -> None:
    agent = Agent()
    wrapped = torch.nn.DataParallel(agent)
    critic = agent.body["critic"]

    assert models_of(agent.parameters()) == models_of(wrapped.parameters()) == [agent]
    assert models_of(critic.parameters()) == [critic]
    assert models_of([torch.ones(1)]) == []


def test_models_that_train_together_are_all_found() -> None:
    actor, critic = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)

    assert {id(model) for model in models_of([*actor.parameters(), *critic.parameters()])} == {id(actor), id(critic)}
