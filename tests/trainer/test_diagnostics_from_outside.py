"""The log of real updates against tensors caught outside the trainer, end to end: on one rank, on two, and distorted.

``captured_run.py`` trains and catches what goes into the updates, ``recomputed.py`` computes from that what must be
logged. So a right formula of the wrong tensor is found, too: V of the rollout, not of the critic that is being fitted
to it; the advantages that the loss used, not others.
"""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.recomputed import Played, expected, numpy_of
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]

NOT_RECOMPUTED = {
    **dict.fromkeys(("ppo_updates_count", "episodes_completed", "inner_epoch", "update_time_ms"), "counts and times"),
    **dict.fromkeys(
        ("rollback_count", "rollback_attempt_count", "rollback_unattributed_count"), "counts of the governor"
    ),
    "lr": "a setting",
    "early_stop_epoch": "compared by itself",
    "ev_low_return_variance_count": "follows from the flags of the batch",
    "entropy_collapsed": "follows from head_entropy",
    "head_gradient_state": "words for head_grad_norm and head_learnable_fraction",
    **dict.fromkeys(("head_nan_detected", "head_inf_detected"), "follow from head_grad_norm"),
    **dict.fromkeys(("nan_grad_count", "inf_grad_count", "grad_nan_layers"), "nothing of it in a run without NaN"),
    **dict.fromkeys(("dead_layers", "exploding_layers", "layer_gradient_health"), "test_gradients.py"),
}


class Run:
    """What one rank captured and logged."""

    def __init__(self, captures: list[dict], rank: int, log: Path) -> None:
        self.captures, self.rank = captures, rank
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        self.records = [line for line in lines if line["event_type"] != "RUN_STARTED"]
        self.logged = self.of("TAMIYO_POLICY_UPDATE")
        self.expected = expected(captures, rank)

    def of(self, event_type: str) -> list[dict]:
        return [line["data"] for line in self.records if line["event_type"] == event_type]

    def pairs(self, field: str) -> list[tuple[object, object]]:
        """Logged and recomputed values of a field, update by update."""
        assert len(self.logged) == len(self.expected) > 0
        return [(logged.get(field), right[field]) for logged, right in zip(self.logged, self.expected, strict=True)]


def captured(folder: Path, run: str, ranks: int = 1) -> list[Run]:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"] if ranks > 1 else []
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "tests.trainer.captured_run", str(folder), run],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ESPER_OTEL_RELAY": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    captures = [numpy_of(torch.load(folder / f"rank{rank}.pt", weights_only=True)) for rank in range(ranks)]
    logs = ["events.jsonl"] if ranks == 1 else ["events.jsonl", "events.rank1.jsonl"]
    return [Run(captures, rank, Path(captures[0]["run_dir"]) / log) for rank, log in enumerate(logs)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    one, first, second = (
        *captured(tmp_path_factory.mktemp("one"), "plain"),
        *captured(tmp_path_factory.mktemp("two"), "plain", ranks=2),
    )
    (distorted,) = captured(tmp_path_factory.mktemp("distorted"), "distorted")
    return {"one rank": one, "rank 0 of 2": first, "rank 1 of 2": second, "distorted rewards": distorted}


WHERE = ("one rank", "rank 0 of 2", "rank 1 of 2", "distorted rewards")

CRITIC = (
    *("explained_variance", "ev_return_variance", "ev_low_return_variance", "value_nrmse", "value_mean", "value_std"),
    *(
        "value_prediction_error_mean",
        "value_prediction_error_std",
        "value_target_correlation",
        "value_min",
        "value_max",
    ),
    *("td_error_mean", "td_error_std", "bellman_error", "return_mean", "return_std", "return_variance"),
    *("return_skewness", "return_p10", "return_p50", "return_p90"),
)
ADVANTAGES = (
    *("advantage_mean", "advantage_std", "advantage_skewness", "advantage_kurtosis", "advantage_positive_ratio"),
    *("advantage_std_floored", "pre_norm_advantage_mean", "pre_norm_advantage_std", "d5_pre_norm_advantage_std"),
)
TRUST_REGION = (
    *("kl_divergence", "kl_reverse", "approx_kl_max", "trust_region_violations", "clip_fraction"),
    *("clip_fraction_positive", "clip_fraction_negative", "ratio_mean", "ratio_min", "ratio_max", "ratio_std"),
    *("joint_ratio_max", "log_prob_min", "log_prob_max", "log_prob_underflow_count", "numerical_stability_score"),
)
LOSSES = ("policy_loss", "value_loss", "entropy", "entropy_loss", "entropy_coef")
GRADIENTS = (
    *("pre_clip_grad_norm", "grad_norm", "grad_clip_fraction", "gradient_utilization", "gradient_cv"),
    *("policy_update_magnitude", "grad_norm_ratio", "grad_zero_fraction"),
)
BEHAVIOUR = (
    *("policy_determinism", "action_diversity", "dominant_action_ratio", "forced_step_ratio", "decision_density"),
    *("valid_sample_ratio", "usable_actor_timesteps"),
)
MAPS = (
    *("op_distribution", "head_kl", "head_entropy", "head_clip_fraction", "head_ratio_max", "head_active_ratio"),
    *("causal_mask_coverage", "head_learnable_fraction", "head_grad_norm", "grad_norm_per_layer"),
)
NUMBERS = ("batch", "ppo_update_idx")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("field", [*CRITIC, *ADVANTAGES, *TRUST_REGION, *LOSSES, *GRADIENTS, *BEHAVIOUR, *NUMBERS])
def test_a_logged_number_is_the_one_that_follows_from_what_went_into_the_update(field, where, runs):
    for logged, right in runs[where].pairs(field):
        assert logged == pytest.approx(right, rel=5e-4, abs=1e-6)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("field", MAPS)
def test_a_logged_map_holds_what_follows_from_what_went_into_the_update(field, where, runs):
    for logged, right in runs[where].pairs(field):
        assert logged == pytest.approx(right, rel=5e-4, abs=1e-6)


@pytest.mark.parametrize("where", WHERE)
def test_no_number_of_an_update_is_logged_without_being_recomputed_or_a_reason(where, runs):
    logged = {name for update in runs[where].logged for name in update}
    compared = {*CRITIC, *ADVANTAGES, *TRUST_REGION, *LOSSES, *GRADIENTS, *BEHAVIOUR, *MAPS, *NUMBERS}

    assert logged - compared == logged & set(NOT_RECOMPUTED)
    assert set(runs[where].expected[0]) == compared


@pytest.mark.parametrize("where", WHERE)
def test_the_updates_of_a_batch_stop_after_the_pass_whose_kl_over_all_ranks_is_beyond_the_target(where, runs):
    run = runs[where]
    target = run.captures[0]["settings"]["target_kl"]
    everywhere = [expected(run.captures, rank) for rank in range(len(run.captures))]
    kl = np.mean([[update["kl_divergence"] for update in rank] for rank in everywhere], axis=0)

    stops = [update.get("early_stop_epoch") for update in run.logged]
    assert [u["ppo_update_idx"] if k > target else None for u, k in zip(run.logged, kl, strict=True)] == stops


@pytest.mark.parametrize("where", WHERE)
def test_the_critic_is_judged_once_per_batch_before_it_learns_from_it(where, runs):
    run = runs[where]
    by_batch = {u["batch"]: u["explained_variance"] for u in run.logged}

    assert all(update["explained_variance"] == by_batch[update["batch"]] for update in run.logged)
    assert [s["explained_variance"] for s in run.of("SIMIC_BATCH_STATS")] == list(by_batch.values())


def test_the_critic_that_was_just_fitted_explains_more_than_the_one_that_is_logged(runs):
    """The difference that the log must not hide: V after the first batch's passes, on the same states."""
    from tests.trainer.recomputed import forward

    capture = runs["one rank"].captures[0]
    batch = capture["batches"][0]
    played = Played(batch, capture["settings"], capture["envs"])
    after = forward(batch["updates"][-1]["after"], batch["observations"], batch["slot_ops"], played.op)[1]
    fitted = 1 - (played.returns - after).var() / played.returns.var()

    assert runs["one rank"].logged[0]["explained_variance"] < fitted - 0.1


def test_advantages_of_two_ranks_are_normalised_together_and_logged_apart(runs):
    pairs = zip(runs["rank 0 of 2"].logged, runs["rank 1 of 2"].logged, strict=True)

    for first, second in pairs:
        together = [(u["advantage_mean"], u["advantage_std"] ** 2 + u["advantage_mean"] ** 2) for u in (first, second)]
        assert (0.0, 1.0) == pytest.approx(tuple(np.mean(together, axis=0)), abs=1e-5)
        assert abs(first["advantage_mean"]) > 1e-3


@pytest.mark.parametrize("where", WHERE)
def test_exact_kl_is_never_negative(where, runs):
    assert min(value for update in runs[where].logged for value in update["head_kl"].values()) >= 0.0


def test_rewards_that_are_too_large_go_through_returns_and_errors_alike(runs):
    """The intervention is made before advantages are computed: nothing is scaled that training did not see."""
    before, after = (
        next(update for update in runs["distorted rewards"].logged if update["batch"] == number) for number in (1, 2)
    )

    assert after["td_error_mean"] - before["td_error_mean"] == pytest.approx(1000.0, rel=0.1)
    assert after["return_mean"] > 1000.0


def shapley_by_permutations(matrix: dict) -> dict[str, tuple[float, float]]:
    """Mean and spread of what each slot adds, over all orders in which slots can be switched on."""
    slots = matrix["slot_ids"]
    worth = {tuple(c["seed_mask"]): c["accuracy"] for c in matrix["configs"]}
    gains: dict[str, list[float]] = {slot: [] for slot in slots}
    for order in itertools.permutations(range(len(slots))):
        on = [False] * len(slots)
        for slot in order:
            without = worth[tuple(on)]
            on[slot] = True
            gains[slots[slot]].append(worth[tuple(on)] - without)
    return {slot: (float(np.mean(values)), float(np.std(values))) for slot, values in gains.items()}


@pytest.mark.parametrize("where", WHERE)
def test_shapley_values_are_exact_without_an_error_and_their_spread_is_the_interaction(where, runs):
    matrices = {(m["env_id"], m["episode_idx"]): m for m in runs[where].of("COUNTERFACTUAL_MATRIX_COMPUTED")}
    values = runs[where].of("SIMIC_SHAPLEY_COMPUTED")

    assert values
    for event in values:
        right = shapley_by_permutations(matrices[event["env_id"], event["episode_idx"]])
        for slot, value in event["shapley_values"].items():
            assert (value["mean"], value["interaction_spread"]) == pytest.approx(right[slot], abs=1e-6)
            assert value["std"] == 0.0
    assert not any(math.isnan(v["mean"]) for event in values for v in event["shapley_values"].values())
