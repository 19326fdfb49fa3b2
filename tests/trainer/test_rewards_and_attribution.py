import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.events import vocabulary
from trainer.kasmina.stages import Stage
from trainer.simic.attribution import Matrix, counterfactual_matrix, shapley_values
from trainer.simic.rewards import REWARD_MODES, RewardInputs, SlotView, compute_reward
from trainer.tamiyo.actions import Op

number = st.floats(-100, 100)
slots = st.builds(SlotView, stage=st.sampled_from(Stage), contribution=st.none() | number)
inputs = st.builds(
    RewardInputs,
    op=st.sampled_from(Op),
    succeeded=st.booleans(),
    rolled_back=st.booleans(),
    alpha_shock=st.floats(0, 3),
    growth_ratio=st.floats(0, 50),
    slots=st.tuples(slots, slots, slots),
    stages_before=st.tuples(*[st.sampled_from(Stage)] * 3),
    is_last=st.booleans(),
    accuracy=st.floats(0, 100),
    baseline=st.none() | st.floats(0, 100),
    gamma=st.floats(0.5, 1),
)


def quiet(**changes) -> RewardInputs:
    values = {
        "op": Op.WAIT,
        "succeeded": True,
        "rolled_back": False,
        "alpha_shock": 0.0,
        "growth_ratio": 0.0,
        "slots": (SlotView(stage=Stage.DORMANT, contribution=None),),
        "stages_before": (Stage.DORMANT,),
        "is_last": False,
        "accuracy": 60.0,
        "baseline": 50.0,
        "gamma": 0.9,
    }
    return RewardInputs(**{**values, **changes})


@given(st.sampled_from(REWARD_MODES), inputs)
def test_the_reward_is_the_sum_of_its_named_parts(mode, x):
    reward = compute_reward(mode, x)

    assert math.fsum(reward.components.values()) == reward.total
    assert math.isfinite(reward.total)


@given(st.sampled_from(REWARD_MODES), inputs)
def test_every_part_has_a_name_of_the_contract(mode, x):
    assert set(compute_reward(mode, x).components) <= set(vocabulary.REWARD_COMPONENTS)


def test_waiting_on_a_bare_host_earns_nothing():
    assert compute_reward("shaped", quiet()).total == 0.0


def test_the_sparse_reward_comes_at_the_end_alone_and_is_the_accuracy_gained():
    assert compute_reward("sparse", quiet()).total == 0.0
    assert pytest.approx(0.2 * 10.0) == compute_reward("sparse", quiet(is_last=True)).total


def test_a_seed_that_helps_earns_up_to_a_bound():
    def earned(points: float) -> float:
        view = SlotView(stage=Stage.BLENDING, contribution=points)
        return compute_reward("shaped", quiet(slots=(view,))).components["bounded_attribution"]

    assert earned(-5.0) < 0.0 < earned(5.0) < earned(20.0) == earned(90.0)


def test_shaping_by_stages_adds_up_to_nothing_over_an_episode_without_discount():
    path = [Stage.DORMANT, Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED]
    parts = [
        compute_reward(
            "shaped",
            quiet(
                stages_before=(before,),
                slots=(SlotView(stage=after, contribution=None),),
                gamma=1.0,
                is_last=after is Stage.FOSSILIZED,
            ),
        ).components["pbrs_bonus"]
        for before, after in itertools.pairwise(path)
    ]

    assert pytest.approx(0.0, abs=1e-12) == math.fsum(parts)


def test_a_rollback_costs():
    assert compute_reward("shaped", quiet(rolled_back=True)).total == -1.0


def matrix_of(values: dict[frozenset[str], float], players: tuple[str, ...]) -> Matrix:
    return Matrix(slot_ids=players, accuracies=values, strategy="full_factorial", duration_s=0.0)


@st.composite
def games(draw):
    players = tuple(f"r0c{i}" for i in range(draw(st.integers(1, 3))))
    coalitions = [frozenset(c) for n in range(len(players) + 1) for c in itertools.combinations(players, n)]
    return matrix_of({c: draw(st.floats(0, 100)) for c in coalitions}, players)


@given(games())
def test_shapley_values_add_up_to_what_all_seeds_gained_together(matrix):
    total = sum(value.mean for value in shapley_values(matrix).values())

    gained = matrix.accuracies[frozenset(matrix.slot_ids)] - matrix.accuracies[frozenset()]
    assert pytest.approx(gained, abs=1e-9) == total


def test_a_seed_that_never_changes_anything_has_the_value_0():
    values = {frozenset(): 50.0, frozenset("a"): 60.0, frozenset("b"): 50.0, frozenset("ab"): 60.0}

    assert {k: v.mean for k, v in shapley_values(matrix_of(values, ("a", "b"))).items()} == {"a": 10.0, "b": 0.0}


def test_seeds_that_only_work_together_share_equally_and_depend_on_each_other():
    values = {frozenset(): 50.0, frozenset("a"): 50.0, frozenset("b"): 50.0, frozenset("ab"): 60.0}
    result = shapley_values(matrix_of(values, ("a", "b")))

    assert {k: (v.mean, v.interaction_spread) for k, v in result.items()} == {"a": (5.0, 5.0), "b": (5.0, 5.0)}


def test_the_matrix_of_three_slots_holds_all_eight_subsets_each_really_evaluated():
    asked = []

    def accuracy_of(switches: dict[str, bool]) -> float:
        asked.append(dict(switches))
        return 10.0 * sum(switches.values())

    matrix = counterfactual_matrix(("a", "b", "c"), accuracy_of)
    assert len(asked) == 8 == len(matrix.accuracies)
    assert matrix.accuracies[frozenset("ac")] == 20.0


def test_beyond_three_slots_only_absences_are_evaluated_and_no_exact_value_is_claimed():
    matrix = counterfactual_matrix(tuple("abcd"), lambda switches: 1.0)

    assert matrix.strategy == "ablation_only"
    assert len(matrix.accuracies) == 6
    with pytest.raises(ValueError, match="16 subsets"):
        shapley_values(matrix)


@pytest.mark.parametrize(("expected", "op"), [(0.0, Op.WAIT), (-0.02, Op.GERMINATE), (-0.2, Op.PRUNE)])
def test_growing_and_pruning_in_turn_is_not_free(expected, op):
    assert compute_reward("shaped", quiet(op=op)).components["action_shaping"] == expected
