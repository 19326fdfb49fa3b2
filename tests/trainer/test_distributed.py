import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S
from trainer.distributed.process_group import joined
from trainer.options import parse

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [*command, "-m", "tests.trainer.rank_child", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert child.returncode == 0, child.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def on_both(ranks: list[dict], name: str) -> object:
    assert ranks[0][name] == ranks[1][name]
    return ranks[0][name]


def test_gradients_and_losses_are_averaged_and_a_missing_gradient_counts_as_zero(ranks):
    assert {"loss": 5.0, "first": [1.5] * 6, "second": [2.0]} == on_both(ranks, "averages")


def test_a_loss_that_is_not_finite_on_one_rank_is_not_finite_on_every_rank(ranks):
    assert "nan" == on_both(ranks, "bad_loss")


def test_rows_are_gathered_in_the_order_of_ranks(ranks):
    assert [[0, 0], [1, 10]] == on_both(ranks, "gathered")


def test_a_number_is_averaged_over_ranks(ranks):
    assert 0.5 == on_both(ranks, "mean")


def test_a_step_of_two_ranks_on_half_the_rollout_each_is_the_step_of_one_on_all_of_it(ranks):
    for rank in ranks:
        assert rank["step"]["difference"] < 1e-5
        assert pytest.approx(rank["step"]["norms"][1], rel=1e-4) == rank["step"]["norms"][0]


def test_every_rank_ends_with_the_same_policy_to_the_bit(ranks):
    assert ranks[0]["train"]["policy"] == ranks[1]["train"]["policy"]


def test_the_gradient_that_is_reported_is_the_averaged_one(ranks):
    assert ranks[0]["train"]["norms"] == ranks[1]["train"]["norms"]


def test_environments_and_episodes_are_shared_out_and_numbered_over_all_ranks(ranks):
    assert [[0, 1], [2, 3]] == [rank["train"]["envs"] for rank in ranks]
    assert [[4, 5], [6, 7]] == [rank["train"]["episodes"] for rank in ranks]
    assert [8, 8] == [rank["train"]["batch"] for rank in ranks]


def test_ranks_play_different_episodes(ranks):
    assert ranks[0]["train"]["rewards"] != ranks[1]["train"]["rewards"]


def test_ranks_that_hold_different_weights_say_so(ranks):
    assert str(on_both(ranks, "disagree")).startswith("the ranks have different policies: rank 0 ")


def test_a_rank_that_lost_its_peer_says_so(ranks):
    assert ranks[0]["lost"].startswith("rank 0 lost contact with the other ranks: ")


def test_a_run_of_one_process_needs_no_process_group():
    import torch

    with joined(torch.device("cpu"), {"WORLD_SIZE": "1", "RANK": "0"}) as peers:
        assert (0, 1) == (peers.rank, peers.world_size)


def test_environments_that_cannot_be_shared_evenly_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")

    with pytest.raises(SystemExit):
        parse(["--recipe", "smoke"])

    assert "--envs: 2 cannot be shared evenly by 3 processes" in capsys.readouterr().err
