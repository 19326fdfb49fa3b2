"""Each update has the norm that clip_grad_norm_ returned, however a program clips, scales, steps and changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.nn.utils import clip_grad_norm_ as imported_early
from torch.optim.optimizer import _global_optimizer_pre_hooks

from esper_otel.events import Event, GradientStats, SensorFault, TrainingUpdate
from esper_otel.sensors import TrainingMonitor
from esper_otel.sensors.updating.funnel import FUNNEL
from tests.sensors import ranks

Batch = tuple[torch.Tensor, torch.Tensor]


class Net(torch.nn.Sequential):
    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def batches(count: int) -> Iterator[Batch]:
    numbers = torch.Generator().manual_seed(3)
    for _ in range(count):
        yield torch.randn(5, 4, generator=numbers), torch.randn(5, 1, generator=numbers)


def loss_of(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return 30 * (model(batch[0]) - batch[1]).square().mean()


@contextmanager
def watched(model: torch.nn.Module, optimizer: object = None, **options: object) -> Iterator[list[Event]]:
    events: list[Event] = []
    monitor = TrainingMonitor(model, optimizer, emit=events.append, every=10**9, **options)
    try:
        yield events
    finally:
        monitor.close()


def updates(events: list[Event]) -> list[TrainingUpdate]:
    return [event for event in events if isinstance(event, TrainingUpdate)]


def pre(events: list[Event]) -> list[float]:
    return [update.pre_clip_grad_norm for update in updates(events)]


def faults(events: list[Event]) -> dict[tuple[str, str], int]:
    return {(event.sensor, event.reason): event.count for event in events if isinstance(event, SensorFault)}


def near(values: list[float]) -> object:
    return pytest.approx(values, rel=1e-6)


def l2(model: torch.nn.Module) -> float:
    return math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None))


@pytest.mark.parametrize("how", ["imported before", "looked up", "imported after", "in two steps", "deprecated name"])
def test_every_update_has_the_norm_that_the_clip_returned_and_the_one_that_was_left(how: str) -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    returned = []
    with watched(model, optimizer) as events:
        from torch.nn.utils import clip_grad_norm_ as imported_late

        def in_two_steps(parameters: Iterator[torch.Tensor], limit: float) -> torch.Tensor:
            found = list(parameters)
            norm = torch.nn.utils.get_total_norm([p.grad for p in found])
            torch.nn.utils.clip_grads_with_norm_((p for p in found), limit, norm)
            return norm

        def deprecated(parameters: Iterator[torch.Tensor], limit: float) -> torch.Tensor:
            with pytest.warns(FutureWarning, match="deprecated"):
                return torch.nn.utils.clip_grad_norm(parameters, limit)

        clip = {
            "imported before": imported_early,
            "looked up": torch.nn.utils.clip_grad_norm_,
            "imported after": imported_late,
            "in two steps": in_two_steps,
            "deprecated name": deprecated,
        }[how]
        for batch in batches(25):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            returned.append(clip(model.parameters(), 0.5).item())
            optimizer.step()

    assert pre(events) == near(returned)
    assert min(returned) > 0.5
    assert [update.grad_norm for update in updates(events)] == pytest.approx([0.5] * 25, rel=1e-4)
    assert [update.update for update in updates(events)] == list(range(1, 26))
    assert {(u.model, u.optimizer, u.lr) for u in updates(events)} == {("Net", "Adam", 0.01)}


def test_an_update_has_the_loss_that_backward_started_from() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    with watched(model) as events:
        for batch in batches(4):
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            losses.append(loss.item())
            loss.detach().mul_(1e6)  # a loop may go on using its tensor
            optimizer.step()

    assert [update.loss for update in updates(events)] == near(losses)


def test_where_nobody_clips_both_norms_are_the_same_measurement() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    norms = []
    with watched(model, optimizer) as events:
        for batch in batches(5):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            norms.append(l2(model))
            optimizer.step()

    assert pre(events) == near(norms)
    assert [update.grad_norm for update in updates(events)] == pre(events)


@pytest.mark.parametrize("kind", ["value", "infinity norm"])
def test_where_the_clip_does_not_know_the_norm_it_is_measured_before(kind: str) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    norms, left = [], []
    with watched(model, optimizer) as events:
        for batch in batches(5):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            norms.append(l2(model))
            if kind == "value":
                torch.nn.utils.clip_grad_value_(model.parameters(), 0.01)
            else:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01, norm_type=math.inf)
            left.append(l2(model))
            optimizer.step()

    assert pre(events) == near(norms)
    assert [update.grad_norm for update in updates(events)] == pytest.approx(left, rel=1e-5)


def test_of_two_clips_of_an_update_the_first_tells_the_norm() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    norms = []
    with watched(model, optimizer) as events:
        for batch in batches(3):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

    assert pre(events) == near(norms)


def test_clips_of_parts_are_added_with_what_nobody_clipped() -> None:
    model = Net()
    optimizer = torch.optim.SGD([{"params": layer.parameters()} for layer in (model[0], model[2])], lr=0.01)
    norms = []
    with watched(model, optimizer) as events:
        for number, batch in enumerate(batches(6)):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            norms.append(l2(model))
            for group in optimizer.param_groups[: 1 + number % 2]:
                torch.nn.utils.clip_grad_norm_(group["params"], 0.1)
            optimizer.step()

    assert pre(events) == near(norms)


def test_two_networks_and_their_optimizers_are_told_apart() -> None:
    generator, critic = Net(), Net()
    makes, judges = torch.optim.Adam(generator.parameters()), torch.optim.SGD(critic.parameters(), lr=0.01)
    returned: dict[str, list[float]] = {"Adam": [], "SGD": []}
    with watched(generator, makes) as of_generator, watched(critic, judges) as of_critic:
        for batch in batches(5):
            judges.zero_grad()
            loss_of(critic, batch).backward()
            returned["SGD"].append(torch.nn.utils.clip_grad_norm_(critic.parameters(), 0.5).item())
            makes.zero_grad()
            loss_of(generator, batch).backward()
            returned["Adam"].append(torch.nn.utils.clip_grad_norm_(generator.parameters(), 0.5).item())
            makes.step()
            judges.step()

    assert pre(of_generator) == near(returned["Adam"])
    assert pre(of_critic) == near(returned["SGD"])
    names = {updates(events)[0].model for events in (of_generator, of_critic)}
    assert len(names) == 2, "two models of one class are two series"


def test_one_clip_over_two_optimizers_of_a_model_is_the_norm_of_both() -> None:
    model = Net()
    pair = (
        torch.optim.Adam(model[0].parameters(), lr=0.01),
        torch.optim.SGD(model[2].parameters(), lr=0.01),
    )
    returned = []
    with watched(model) as events:
        for batch in batches(4):
            model.zero_grad()
            loss_of(model, batch).backward()
            returned.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
            for optimizer in pair:
                optimizer.step()

    for kind in ("Adam", "SGD"):
        mine = [update for update in updates(events) if update.optimizer == kind]
        assert [update.pre_clip_grad_norm for update in mine] == near(returned)


def test_an_update_that_the_loop_leaves_out_lends_its_norm_to_no_other() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    returned = []
    with watched(model, optimizer) as events:
        for number, batch in enumerate(batches(8)):
            optimizer.zero_grad()
            (loss_of(model, batch) * (math.inf if number % 3 == 0 else 1)).backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            if norm.isfinite():
                returned.append(norm.item())
                optimizer.step()

    assert pre(events) == near(returned)


def test_a_norm_that_is_not_finite_is_kept() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watched(model, optimizer) as events:
        (loss_of(model, next(batches(1))) * math.nan).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    (update,) = updates(events)
    assert math.isnan(update.pre_clip_grad_norm)
    assert math.isnan(update.loss)


@pytest.mark.parametrize("clips", ["unscaled", "scaled", "never"])
@pytest.mark.parametrize("is_fused", [False, True])
def test_a_loss_scale_is_in_no_norm_and_a_skipped_step_is_no_update(clips: str, is_fused: bool) -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=is_fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    norms, losses = [], []
    with watched(model, optimizer, scaler=scaler) as events:
        for number, batch in enumerate(batches(8)):
            optimizer.zero_grad()
            scale = scaler.get_scale()
            loss = loss_of(model, batch) * (math.inf if number == 4 else 1)
            scaler.scale(loss).backward()
            if clips == "unscaled":
                scaler.unscale_(optimizer)
                scale = 1.0
            norm = l2(model) / scale
            if clips != "never":
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            if number != 4:
                norms.append(norm)
                losses.append(loss.item())
            scaler.step(optimizer)
            scaler.update()

    assert pre(events) == near(norms)
    assert [update.loss for update in updates(events)] == near(losses)
    assert all(update.grad_norm <= norm * 1.00001 for update, norm in zip(updates(events), norms, strict=True))
    assert faults(events) == {}


def test_with_a_closure_the_gradient_is_that_of_its_last_evaluation() -> None:
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    norms, clipped = [], []
    with watched(model, optimizer) as events:
        for number, batch in enumerate(batches(6)):

            def closure(batch: Batch = batch, is_clipping: bool = number >= 3) -> torch.Tensor:
                optimizer.zero_grad()
                loss = loss_of(model, batch)
                loss.backward()
                clipped.append(l2(model))
                if is_clipping:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                return loss

            optimizer.step(closure)
            norms.append(clipped[-1])

    assert pre(events) == near(norms)
    assert len(clipped) > 6, "several evaluations for an update"


class Wrapped:
    """Wraps an optimizer as accelerate does: no optimizer of torch's, and without hooks."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        self.optimizer.step()


class Lookahead(torch.optim.Optimizer):
    """Steps another optimizer of the same parameters inside its own step."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner

    def step(self, closure: None = None) -> None:
        self.inner.step()


@pytest.mark.parametrize("wrap", [Wrapped, Lookahead])
def test_an_optimizer_that_wraps_another_makes_one_update_of_a_step(wrap: type) -> None:
    model = Net()
    optimizer = wrap(torch.optim.SGD(model.parameters(), lr=0.01))
    returned = []
    with watched(model, optimizer) as events:
        for batch in batches(5):
            model.zero_grad()
            loss_of(model, batch).backward()
            returned.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
            optimizer.step()

    assert pre(events) == near(returned)
    assert faults(events) == {}


def test_an_optimizer_of_an_unknown_kind_is_reported_and_training_goes_on() -> None:
    class Own:
        def step(self) -> None:
            pass

    with watched(Net(), Own()) as events:
        pass

    assert faults(events) == {("updates", "unsupported"): 1}


def test_a_new_optimizer_of_the_model_is_measured_on() -> None:
    model = Net()
    with watched(model, torch.optim.SGD(model.parameters(), lr=0.01)) as events:
        for batch in batches(3):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            model.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()

    assert [update.update for update in updates(events)] == [1, 2, 3]


def test_parameters_that_are_added_later_count() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    norms = []
    with watched(model, optimizer) as events:
        for number, batch in enumerate(batches(4)):
            if number == 2:
                model.append(torch.nn.Linear(1, 1))
                optimizer.add_param_group({"params": model[3].parameters()})
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            norms.append(l2(model))
            optimizer.step()

    assert pre(events) == near(norms)


def test_parameters_that_were_replaced_behind_the_optimizer_are_reported() -> None:
    model = torch.nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.weight = torch.nn.Parameter(torch.ones(1, 4))
    with watched(model, optimizer) as events:
        loss_of(model, next(batches(1))).backward()
        optimizer.step()

    assert pre(events) == [None]
    assert faults(events) == {("updates", "no_gradient"): 1}


def test_sparse_gradients_are_part_of_the_norm() -> None:
    table = torch.nn.Embedding(10, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters())
    with watched(table, optimizer) as events:
        table(torch.tensor([1, 1, 4])).sum().backward()
        expected = float(table.weight.grad.to_dense().norm())
        optimizer.step()

    assert pre(events) == near([expected])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_step_inside_torch_compile_is_reported_and_breaks_no_graph_more() -> None:
    def trained(is_watched: bool) -> tuple[int, list[Event]]:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        step = torch.compile(optimizer.step, backend="eager")
        events: list[Event] = []
        monitor = TrainingMonitor(model, optimizer, emit=events.append) if is_watched else None
        for batch in batches(3):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            step()
        if monitor is not None:
            monitor.close()
        return torch._dynamo.utils.counters["stats"]["unique_graphs"], events

    without, _ = trained(False)
    graphs, events = trained(True)

    assert graphs == without
    assert updates(events) == []
    assert set(faults(events)) == {("updates", "compiled")}


@pytest.mark.parametrize("what", ["names", "norms"])
def test_an_exception_of_ours_reaches_no_caller_and_is_counted(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watched(model, optimizer) as events:
        if what == "names":
            optimizer.param_groups[0]["params"] = None
            with pytest.raises(TypeError):  # SGD's own
                optimizer.step()
        else:
            with monkeypatch.context() as patch:
                patch.setattr(torch, "_foreach_norm", lambda *_, **__: 1 / 0)
                loss_of(model, next(batches(1))).backward()
                optimizer.step()

    assert [sensor for sensor, _ in faults(events)] == ["updates"]


def test_layers_are_measured_before_they_are_clipped() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watched(model, optimizer) as events:
        loss_of(model, next(batches(1))).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3).item()
        optimizer.step()

    (stats,) = [event for event in events if isinstance(event, GradientStats)]
    assert stats.norm == pytest.approx(norm, rel=1e-6)
    assert list(stats.norm_per_layer) == ["0", "2"]


def test_after_the_last_monitor_torch_is_as_it_was() -> None:
    before = (torch.autograd.backward, torch.amp.GradScaler.step, imported_early.__closure__[0].cell_contents)
    with watched(Net()):
        assert torch.autograd.backward is not before[0]

    assert (torch.autograd.backward, torch.amp.GradScaler.step, imported_early.__closure__[0].cell_contents) == before
    assert not FUNNEL.clips
    assert not _global_optimizer_pre_hooks


def test_weights_with_and_without_are_equal_to_the_bit() -> None:
    def weights(is_watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(5)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters())
        monitor = TrainingMonitor(model, optimizer, emit=lambda _: None, every=2) if is_watched else None
        for batch in batches(30):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            imported_early(model.parameters(), 0.3)
            optimizer.step()
            if monitor is not None:
                monitor.step()
        if monitor is not None:
            monitor.close()
        return [p.detach().clone() for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(False), weights(True), strict=True))


def test_sharded_gradients_start_no_communication_and_have_the_norm_that_the_clip_computed(tmp_path: Path) -> None:
    """Two ranks of fully_shard over gloo; each counts the collectives of its updates."""
    results = ranks.run(ranks.sharded_updates, 2, tmp_path)

    for result in results:
        assert result["collectives"] == result["collectives unwatched"]
        assert result["clipped"] == near(result["returned"])
        assert result["left"] == pytest.approx([min(0.5, norm) for norm in result["returned"]], rel=1e-5)
        assert result["unclipped"] == [None], "no rank knows it alone"
        assert result["faults"] == [["updates", "sharded"]]
    assert results[0]["returned"] == results[1]["returned"]


@pytest.mark.filterwarnings("ignore")  # of FSDP on a CPU
def test_flattened_parameters_have_the_norm_that_the_models_own_clip_returned(tmp_path: Path) -> None:
    results = ranks.run(ranks.flattened_updates, 2, tmp_path)

    for result in results:
        assert result["clipped"] == near(result["returned"])
        assert result["left"] == pytest.approx([min(0.5, norm) for norm in result["returned"]], rel=1e-5)
        assert result["unclipped"] == [None], "no rank knows it alone"
        assert result["model"].startswith("Sequential")


class Unreadable(torch.optim.SGD):
    """Its groups cannot be read from its third update on."""

    def __init__(self, parameters: Iterator[torch.nn.Parameter]) -> None:
        super().__init__(parameters, lr=1e-3)
        self.number = 0

    def __getattribute__(self, name: str) -> object:
        if name == "param_groups" and object.__getattribute__(self, "__dict__").get("number", 0) >= 2:
            raise RuntimeError("groups are elsewhere")
        return super().__getattribute__(name)

    def step(self, closure: None = None) -> None:
        self.number += 1


class Unhashable(torch.optim.SGD):
    def __init__(self, parameters: Iterator[torch.nn.Parameter]) -> None:
        super().__init__(parameters, lr=1e-3)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(("kind", "seen", "counted"), [(Unreadable, 2, 1), (Unhashable, 0, 12)])
def test_an_odd_optimizer_is_left_out_and_counted_and_said_once_and_the_others_are_measured(
    kind: type[torch.optim.Optimizer], seen: int, counted: int, capfd: pytest.CaptureFixture[str]
) -> None:
    model = Net()
    odd, even = kind(model[0].parameters()), torch.optim.SGD(model[2].parameters(), lr=1e-3)
    with watched(model) as events:
        for batch in batches(6):
            loss_of(model, batch).backward()
            odd.step()
            even.step()

    found = [update.optimizer for update in updates(events)]
    assert (found.count("SGD"), found.count(kind.__name__)) == (6, seen)
    assert faults(events) == {("updates", "unreadable"): counted}
    said = capfd.readouterr().err
    assert said.count(f"Updates of this {kind.__name__} are not in the log") == 1
