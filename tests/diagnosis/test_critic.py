"""A critic that never learns is named from its gradient, whatever its explained variance happens to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Finding, Grade
from tests.diagnosis.made import Line, line, policy, run

IDLE = 0.05
"""An explained variance that a critic has which predicts one number for every state, give or take noise."""


def reports(*missing: list[str], norms: dict[str, float] | None = None) -> list[Line]:
    fields = {"model": "ActorCriticPolicy", "norm_per_layer": norms or {"action_net": 1.0}}
    return [
        line("TOLARIA_GRADIENT_STATS", 2 * n, layers_without_gradient=layers, **fields)
        for n, layers in enumerate(missing)
    ]


def found(directory: Path, *lines: list[Line]) -> list[Finding]:
    return [each for each in diagnose(run(directory, *lines)).findings if each.severity is not Grade.INFO]


@pytest.mark.parametrize("layer", ["value_net", "mlp_extractor.value_net.0", "critic.2", "vf", "value_head"])
def test_layers_of_a_critic_that_never_got_a_gradient_are_named(layer: str, tmp_path: Path) -> None:
    (finding,) = found(tmp_path / "run", policy(30, explained_variance=IDLE), reports([layer], [layer]))

    assert finding.kind == "critic_failing"
    assert finding.sentence == f"1 layer of the critic never got a gradient: {layer}."
    assert finding.who == {"model": "ActorCriticPolicy", "layer": layer}


@pytest.mark.parametrize("layer", ["critic_target.0", "features.0", "invalue.1"])
def test_a_target_network_and_a_layer_of_another_part_are_no_critic(layer: str, tmp_path: Path) -> None:
    assert found(tmp_path / "run", policy(30, explained_variance=IDLE), reports([layer], [layer])) == []


def test_a_critic_that_got_a_gradient_once_is_not_frozen(tmp_path: Path) -> None:
    assert found(tmp_path / "run", policy(30, explained_variance=IDLE), reports(["value_net"], [])) == []


def test_a_critic_whose_gradient_is_exactly_0_is_as_frozen_as_one_without(tmp_path: Path) -> None:
    lines = reports([], [], norms={"action_net": 1.0, "value_net": 0.0})

    (finding,) = found(tmp_path / "run", policy(30, explained_variance=IDLE), lines)

    assert finding.who == {"model": "ActorCriticPolicy", "layer": "value_net"}


def test_a_frozen_critic_that_explains_the_returns_is_left_alone(tmp_path: Path) -> None:
    assert found(tmp_path / "run", policy(30, explained_variance=0.9), reports(["value_net"], ["value_net"])) == []


def test_the_head_of_the_critic_whose_norm_is_0_in_every_update_is_found(tmp_path: Path) -> None:
    def updates(last: float) -> list[Line]:
        norms = [0.0] * 29 + [last]
        return policy(30, explained_variance=IDLE, head_grad_norm=lambda n: {"op": 1.0, "value": norms[n]})

    (finding,) = found(tmp_path / "zero", updates(0.0))
    assert finding.sentence == "The critic's gradient is exactly 0 in all 30 updates: it does not learn."
    assert found(tmp_path / "once", updates(1e-9)) == []


@pytest.mark.parametrize(("alike", "kinds"), [(True, []), (False, ["critic_failing"])])
def test_a_critic_cannot_explain_returns_that_are_alike(alike: bool, kinds: list[str], tmp_path: Path) -> None:
    lines = policy(120, explained_variance=-9.0, ev_low_return_variance=alike)

    assert [finding.kind for finding in diagnose(run(tmp_path / "run", lines)).findings] == kinds
