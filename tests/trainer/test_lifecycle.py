import itertools

import pytest
import torch

from esper_otel.events import vocabulary
from trainer.kasmina.alpha import AlphaCurve, AlphaSpeed, AlphaTarget, Style, Tempo
from trainer.kasmina.facts import Fossilized, Provenance, Pruned, StageChanged
from trainer.kasmina.gates import GATES, Evidence, judge
from trainer.kasmina.lifecycle import Lifecycle
from trainer.kasmina.slot import Slot
from trainer.kasmina.stages import TRANSITIONS, IllegalTransitionError, Stage, check_transition
from trainer.tamiyo.actions import HEADS, Op, choices

LEGAL = {(str(a), str(b)) for a, targets in TRANSITIONS.items() for b in targets}
ORIGIN = Provenance(action_id="a", rng_stream="s", rng_seed=7)

PASSING = {
    "G0": Evidence(stage=Stage.DORMANT, is_host_stable=True, is_within_budget=True),
    "G1": Evidence(stage=Stage.GERMINATED),
    "G2": Evidence(stage=Stage.TRAINING, epochs_in_stage=2, seed_params=8, grad_norm=0.1, val_loss=1.0),
    "G3": Evidence(stage=Stage.BLENDING, alpha=0.7, alpha_target=0.7, val_loss=1.0),
    "G5": Evidence(stage=Stage.HOLDING, epochs_in_stage=1, contribution=0.5),
}
FAILING = [
    ("G0", {"stage": Stage.TRAINING}, "slot_is_dormant"),
    ("G0", {"is_host_stable": False}, "host_is_stable"),
    ("G0", {"is_within_budget": False}, "within_budget"),
    ("G1", {"stage": Stage.TRAINING}, "is_germinated"),
    ("G2", {"stage": Stage.HOLDING}, "is_training"),
    ("G2", {"epochs_in_stage": 1}, "trained_long_enough"),
    ("G2", {"grad_norm": None}, "seed_has_gradient"),
    ("G2", {"grad_norm": 0.0}, "seed_has_gradient"),
    ("G2", {"grad_norm": float("nan")}, "seed_has_gradient"),
    ("G2", {"val_loss": float("inf")}, "val_loss_is_finite"),
    ("G3", {"stage": Stage.HOLDING}, "is_blending"),
    ("G3", {"alpha": 0.69}, "alpha_reached_target"),
    ("G3", {"val_loss": None}, "val_loss_is_finite"),
    ("G5", {"stage": Stage.BLENDING}, "is_holding"),
    ("G5", {"epochs_in_stage": 0}, "held_long_enough"),
    ("G5", {"contribution": None}, "contributes"),
    ("G5", {"contribution": 0.4}, "contributes"),
]


def changed(evidence, change):
    return Evidence(**{**evidence.__dict__, **change})


def test_the_transitions_are_those_of_the_contract():
    assert set(vocabulary.TRANSITIONS) == LEGAL


def test_stages_gates_operations_and_heads_are_named_as_in_the_contract():
    assert set(vocabulary.STAGES) == {str(stage) for stage in Stage}
    assert vocabulary.GATES == GATES
    assert tuple(op.name for op in Op) == vocabulary.OPS
    assert vocabulary.HEADS == HEADS
    assert set(choices(("r0c0",))["blueprint"]) <= set(vocabulary.BLUEPRINTS)


@pytest.mark.parametrize(("current", "target"), list(itertools.product(Stage, Stage)))
def test_exactly_the_legal_transitions_are_let_through(current, target):
    if (str(current), str(target)) in LEGAL:
        check_transition(current, target)
    else:
        with pytest.raises(IllegalTransitionError, match=f"from {current} to {target}"):
            check_transition(current, target)


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_passes_on_sufficient_evidence(gate):
    assert judge(gate, PASSING[gate]).checks_failed == ()


@pytest.mark.parametrize(("gate", "change", "check"), FAILING)
def test_a_gate_fails_on_one_lacking_fact_and_names_it(gate, change, check):
    verdict = judge(gate, changed(PASSING[gate], change))

    assert not verdict.passed
    assert check in verdict.checks_failed


def test_a_seed_without_parameters_needs_no_gradient_to_be_blended():
    assert judge("G2", changed(PASSING["G2"], {"seed_params": 0, "grad_norm": None})).passed


def germinated() -> Lifecycle:
    life = Lifecycle(slot=Slot("r0c0", 4), device=torch.device("cpu"))
    life.germinate("seed", "norm", Style.LINEAR_ADD, Tempo.FAST, AlphaTarget.FULL, 50.0, ORIGIN)
    return life


def held() -> Lifecycle:
    life = germinated()
    life.advance(1.0, ORIGIN)
    life.record.grad_norm = 1.0
    for _ in range(2):
        life.after_epoch(50.0, 1.0)
    assert life.advance(1.0, ORIGIN)
    for _ in range(Tempo.FAST.value):
        life.before_epoch()
        life.after_epoch(60.0, 1.0)
    return life


def stages(life: Lifecycle) -> list[tuple[Stage, Stage]]:
    return [(fact.from_stage, fact.to_stage) for fact in life.facts if isinstance(fact, StageChanged)]


def test_a_good_seed_goes_the_whole_way_to_fossilized():
    life = held()
    life.record.contribution = 3.0
    life.after_epoch(61.0, 1.0)

    assert life.fossilize(ORIGIN)
    assert stages(life) == [
        (Stage.GERMINATED, Stage.TRAINING),
        (Stage.TRAINING, Stage.BLENDING),
        (Stage.BLENDING, Stage.HOLDING),
        (Stage.HOLDING, Stage.FOSSILIZED),
    ]
    fossil = life.facts[-1]
    assert isinstance(fossil, Fossilized)
    assert (fossil.improvement, fossil.alpha, fossil.contribution, fossil.blending_delta) == (11.0, 1.0, 3.0, 11.0)


def test_a_seed_that_contributes_nothing_is_not_fossilized():
    life = held()
    life.record.contribution = 0.0
    life.after_epoch(60.0, 1.0)

    assert not life.fossilize(ORIGIN)
    assert life.stage is Stage.HOLDING


def test_an_instant_prune_removes_the_seed_and_the_slot_recovers_by_itself():
    life = held()
    life.prune(AlphaSpeed.INSTANT, AlphaCurve.LINEAR, ORIGIN)

    assert life.slot.seed is None
    assert isinstance(life.facts[-1], Pruned)
    for _ in range(5):
        life.after_epoch(50.0, 1.0)
    assert [to for _, to in stages(life)[-4:]] == [Stage.PRUNED, Stage.EMBARGOED, Stage.RESETTING, Stage.DORMANT]


def test_a_slow_prune_fades_the_seed_out_before_it_removes_it():
    life = held()
    life.prune(AlphaSpeed.FAST, AlphaCurve.LINEAR, ORIGIN)

    alphas = []
    while life.stage is Stage.BLENDING:
        life.before_epoch()
        alphas.append(life.slot.alpha)
        life.after_epoch(50.0, 1.0)
    assert pytest.approx([2 / 3, 1 / 3, 0.0]) == alphas
    assert life.facts[-1].reason == "scheduled_prune"
    assert life.slot.seed is None


def test_a_held_seed_can_be_moved_to_another_weight():
    life = held()

    assert life.set_alpha_target(AlphaTarget.HALF, AlphaSpeed.INSTANT, AlphaCurve.COSINE, ORIGIN)
    life.before_epoch()
    life.after_epoch(50.0, 1.0)
    assert (life.stage, life.slot.alpha) == (Stage.HOLDING, 0.5)


def test_a_held_seed_is_not_moved_to_the_weight_it_has():
    assert not held().set_alpha_target(AlphaTarget.FULL, AlphaSpeed.FAST, AlphaCurve.COSINE, ORIGIN)
