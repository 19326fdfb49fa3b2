import json
from collections import Counter
from dataclasses import replace

import pytest

from tests.trainer.test_resume import SMALL, arms_for, digests
from trainer.__main__ import final_weights, main
from trainer.options import parse
from trainer.simic.loop import Training
from trainer.tolaria.weights import digest

MODES = ("shaped", "sparse")


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[dict]:
    """The log of an A/B run."""
    folder = tmp_path_factory.mktemp("ab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPER_OTEL_RELAY", "0")
        size = ["--recipe", "smoke", "--rounds", "2", "--episode-length", "8"]
        assert 0 == main([*size, "--ab", "shaped,sparse", "--telemetry-dir", str(folder)])
    return [json.loads(line) for line in (folder / "latest" / "events.jsonl").read_text().splitlines()]


def of_type(lines: list[dict], event_type: str) -> list[dict]:
    return [line for line in lines if line["event_type"] == event_type]


def test_nothing_but_the_process_itself_is_outside_the_groups(lines):
    outside = {line["event_type"] for line in lines if line["group_id"] not in {"A", "B"}}

    assert outside <= {"RUN_ENDED", "HEARTBEAT"}


def test_every_arm_has_its_start_its_reward_and_its_rounds(lines):
    starts = {line["group_id"]: line["data"]["reward_mode"] for line in of_type(lines, "TRAINING_STARTED")}
    rewards = {line["group_id"]: set(line["data"]["components"]) for line in of_type(lines, "SIMIC_REWARD_COMPUTED")}
    ends = [(line["group_id"], line["data"]["batch_idx"]) for line in of_type(lines, "TOLARIA_BATCH_COMPLETED")]

    assert {"A": "shaped", "B": "sparse"} == starts
    assert {"terminal_bonus"} == rewards["B"] < rewards["A"]
    assert [("A", 1), ("B", 1), ("A", 2), ("B", 2)] == ends


def test_both_arms_emit_the_same_events_step_by_step(lines):
    steps = Counter((line["group_id"], line["event_type"]) for line in lines)

    for name in ("TAMIYO_DECISION", "TOLARIA_EPOCH_COMPLETED", "SIMIC_REWARD_COMPUTED", "EPISODE_OUTCOME"):
        assert steps["A", name] == steps["B", name] > 0


def test_arms_begin_alike_so_that_their_first_decisions_are_the_same(lines):
    decisions = {
        group: [
            line["data"].get("chosen_action") or line["data"]
            for line in of_type(lines, "TAMIYO_DECISION")
            if line["group_id"] == group
        ][:2]
        for group in "AB"
    }

    assert decisions["A"] == decisions["B"]


def test_an_arm_trains_as_it_would_without_the_other():
    alone = Training(replace(SMALL, rounds=2, reward_mode="sparse"))
    alone.run()
    together = arms_for(replace(SMALL, rounds=2), MODES)
    together.begin()
    together.run(lambda group_id, end: None)

    assert digest(final_weights(alone)) == digests(together)[1]


@pytest.mark.parametrize("text", ["shaped", "shaped,shaped", "shaped,other", ""])
def test_groups_need_two_different_reward_modes(text, capsys):
    with pytest.raises(SystemExit):
        parse(["--ab", text])

    assert "does not name two or more different modes out of shaped, sparse" in capsys.readouterr().err


def test_groups_and_one_reward_mode_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        parse(["--ab", "shaped,sparse", "--reward-mode", "sparse"])

    assert "argument --ab: not allowed with argument --reward-mode" in capsys.readouterr().err
