"""Programs without a line of ours: each update has the norm that their own clip returned, and nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.automatic.program_runs import Ran, ran

CASES = {
    "a policy in one file": ("ppo.py", (), 1),
    "a loop": ("gpt.py", (), 1),
    "a loop with a scaler": ("gpt.py", ("--amp",), 1),
    "a compiled model": ("gpt.py", ("--compile",), 1),
    "two ranks": ("gpt.py", (), 2),
    "a sharded model": ("sharded.py", (), 2),
    "a closure": ("lbfgs.py", (), 1),
}


def near(values: list[float]) -> object:
    return pytest.approx(values, rel=1e-6)


def sound(run: Ran) -> None:
    assert run.status == 0, run.error
    assert "SENSOR_FAULT" not in {line["event_type"] for log in run.lines for line in log}
    assert "Traceback" not in run.error
    assert run.run["status"] == "finished"


@pytest.mark.parametrize("name", CASES)
def test_every_update_has_the_norm_that_the_program_knows_and_the_weights_are_the_same_to_the_bit(
    name: str, tmp_path: Path
) -> None:
    program, options, ranks = CASES[name]
    plain = ran("", tmp_path / "plain", program, *options, ranks=ranks)
    run = ran("run", tmp_path / "recorded", program, *options, ranks=ranks)

    sound(run)
    assert len(run.lines) == len(run.own) == ranks
    for rank, own in enumerate(run.own):
        assert [update["pre_clip_grad_norm"] for update in run.updates(rank)] == near(own["norms"])
        assert own["weights"] == plain.own[rank]["weights"]
    assert plain.lines == []


def test_the_loss_the_learning_rate_and_the_norm_that_was_left_are_those_of_the_program(tmp_path: Path) -> None:
    run = ran("run", tmp_path, "ppo.py")

    sound(run)
    (own,) = run.own
    updates = run.updates()
    assert [update["loss"] for update in updates] == near(own["losses"])
    assert [update["grad_norm"] for update in updates] == pytest.approx(own["left"], rel=1e-5)
    assert updates[0]["lr"] == 2.5e-3
    assert {(update["model"], update["optimizer"]) for update in updates} == {("Agent", "Adam")}
    for stats in run.of("TOLARIA_GRADIENT_STATS"):
        assert stats["norm"] == near(own["norms"][stats["step"] - 1])


def test_two_networks_are_two_models_and_the_workers_that_load_data_record_nothing(tmp_path: Path) -> None:
    run = ran("run", tmp_path, "gan.py")

    sound(run)
    (own,) = run.own
    for model, norms in own["norms"].items():
        assert [u["pre_clip_grad_norm"] for u in run.updates() if u["model"] == model] == near(norms)
    assert sum(event.get("samples", 0) for event in run.of("TOLARIA_THROUGHPUT")) == own["samples"]
    assert len(list((tmp_path / "telemetry").glob("*/run.json"))) == 2, "one run, and 'latest'"
    phases = {name for event in run.of("TOLARIA_PHASE_DURATIONS") for name in event["durations_s"]}
    assert phases == {"data_wait", "before_backward", "backward", "optimizer_step"}


def test_a_checkpoint_is_an_event_with_its_size(tmp_path: Path) -> None:
    run = ran("run", tmp_path, "gpt.py")

    sound(run)
    file = tmp_path / "own.pt"
    (saved,) = run.of("CHECKPOINT_SAVED")
    assert saved.pop("duration_ms") > 0
    assert saved == {"path": str(file), "size_bytes": file.stat().st_size}


def test_opentelemetry_instrument_is_a_door_as_well(tmp_path: Path) -> None:
    run = ran("instrument", tmp_path, "ppo.py")

    sound(run)
    assert [update["pre_clip_grad_norm"] for update in run.updates()] == near(run.own[0]["norms"])


@pytest.mark.parametrize("door", ["run", "instrument"])
def test_a_variable_switches_it_off(door: str, tmp_path: Path) -> None:
    run = ran(door, tmp_path, "ppo.py", ESPER_OTEL_AUTOLOG="0")

    assert run.status == 0, run.error
    assert not (tmp_path / "telemetry").exists()
