import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from trainer.__main__ import final_weights, main
from trainer.distributed.peers import Alone
from trainer.options import parse
from trainer.recipes import RECIPES, Recipe
from trainer.simic.archive import CheckpointError, load_arm
from trainer.simic.checkpoint import Keeper, check_fits, find
from trainer.simic.groups import Arms, arms_of
from trainer.simic.loop import Training
from trainer.simic.observer import Silent
from trainer.tolaria.environment import EnvironmentSettings
from trainer.tolaria.weights import digest

SMALL = replace(RECIPES["smoke"], rounds=4, warm_hosts=1, environment=EnvironmentSettings(episode_length=7))


def arms_for(recipe: Recipe, modes: tuple[str, ...] = ()) -> Arms:
    return Arms(arms_of(recipe, modes), lambda group_id: Silent(), Alone())


def digests(arms: Arms) -> list[str]:
    return [digest(final_weights(training)) for training in arms.trainings.values()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[list[str], Path]:
    """Weights of a run that was saved after every second round, and where."""
    folder = tmp_path_factory.mktemp("checkpoints")
    arms = arms_for(SMALL)
    arms.begin()
    arms.run(lambda group_id, end: None, Keeper(folder, 2))
    return digests(arms), folder


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(uninterrupted):
    weights, folder = uninterrupted
    arms = arms_for(SMALL)
    arms.begin(find(folder / "round-000002"))
    batches: list[int] = []
    arms.run(lambda group_id, end: batches.append(end.batch))

    assert [3, 4] == batches
    assert weights == digests(arms)


def test_what_is_loaded_is_bit_for_bit_what_was_saved(uninterrupted, tmp_path):
    arms = arms_for(SMALL)
    arms.begin(find(uninterrupted[1] / "round-000002"))
    again = Keeper(tmp_path, 1).save(arms.trainings)

    with np.load(again / "rank0.npz") as found, np.load(uninterrupted[1] / again.name / "rank0.npz") as saved:
        assert sorted(saved.files) == sorted(found.files)
        assert all(saved[name].tobytes() == found[name].tobytes() for name in saved.files)


def test_the_detectors_memory_and_the_rolling_accuracy_go_on(uninterrupted):
    whole = Training(SMALL)
    whole.run()
    resumed = Training(SMALL)
    load_arm(find(uninterrupted[1]).file(None, 0), resumed)

    assert whole.watch == resumed.watch
    assert list(whole.accuracies) == list(resumed.accuracies)


def test_an_archive_holds_plain_arrays_without_pickles(uninterrupted):
    path = uninterrupted[1] / "round-000002" / "rank0.npz"

    with np.load(path, allow_pickle=False) as content:
        assert all(content[name].dtype.kind in "fiu" for name in content.files)
    with zipfile.ZipFile(path) as members:
        assert all(name.endswith(".npy") for name in members.namelist())


def test_both_arms_of_an_ab_run_are_resumed(tmp_path):
    recipe = replace(SMALL, rounds=2)
    whole = arms_for(recipe, ("shaped", "sparse"))
    whole.begin()
    whole.run(lambda group_id, end: None, Keeper(tmp_path, 1))
    resumed = arms_for(recipe, ("shaped", "sparse"))
    resumed.begin(find(tmp_path / "round-000001"))
    resumed.run(lambda group_id, end: None)

    assert digests(whole) == digests(resumed)


def test_the_newest_whole_checkpoint_of_a_directory_is_taken(uninterrupted, tmp_path):
    keeper = Keeper(tmp_path, 1)
    arms = arms_for(SMALL)
    arms.begin(find(uninterrupted[1] / "round-000002"))
    keeper.save(arms.trainings)
    (tmp_path / "round-000003").mkdir()

    assert "round-000002" == find(tmp_path).folder.name


def test_a_directory_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not a checkpoint and contains none"):
        find(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", None])
def test_a_damaged_archive_is_refused_by_name(uninterrupted, tmp_path, damage):
    path = tmp_path / "rank0.npz"
    if damage is not None:
        path.write_bytes(damage)

    with pytest.raises(CheckpointError, match=r"rank0\.npz cannot be loaded"):
        load_arm(path, Training(SMALL))


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_status_1_and_one_message(tmp_path, capsys):
    (tmp_path / "file").touch()
    size = ["--recipe", "smoke", "--rounds", "1", "--envs", "1", "--episode-length", "6", "--no-telemetry"]
    status = main([*size, "--checkpoint", str(tmp_path / "file")])

    assert 1 == status
    assert "round-000001 cannot be written: " in capsys.readouterr().err


def test_a_checkpoint_of_several_processes_asks_for_as_many(uninterrupted):
    with pytest.raises(CheckpointError, match="start it with torchrun --nproc-per-node 1"):
        check_fits(find(uninterrupted[1]), 2, [SMALL])


def test_a_checkpoint_at_the_end_of_its_run_asks_for_more_rounds(uninterrupted):
    with pytest.raises(CheckpointError, match="round 4 of 4: increase --rounds"):
        check_fits(find(uninterrupted[1]), 1, [SMALL])


def test_a_resumed_run_takes_its_recipe_from_the_checkpoint(uninterrupted):
    options = parse(["--resume", str(uninterrupted[1]), "--rounds", "9"])

    assert replace(SMALL, rounds=9) == options.recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_survives_the_index_of_a_checkpoint(name, tmp_path):
    entry = {"group_id": None, "recipe": asdict(RECIPES[name])}
    index = {"format": 1, "rounds_done": 1, "world_size": 1, "arms": [entry]}
    (tmp_path / "checkpoint.json").write_text(json.dumps(index))

    assert RECIPES[name] == find(tmp_path).index.arms[0].recipe


def test_an_option_that_would_make_it_another_run_is_refused(uninterrupted, capsys):
    with pytest.raises(SystemExit):
        parse(["--resume", str(uninterrupted[1]), "--seed", "3"])

    assert "--seed: a resumed run keeps what its checkpoint says" in capsys.readouterr().err


def test_a_checkpoint_is_taken_after_every_second_round_and_at_the_end(uninterrupted):
    assert ["round-000002", "round-000004"] == sorted(folder.name for folder in uninterrupted[1].iterdir())


def test_the_log_announces_what_is_saved_and_loaded(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_OTEL_RELAY", "0")
    where = ["--telemetry-dir", str(tmp_path), "--checkpoint", str(tmp_path / "saved")]
    status = main(["--resume", str(uninterrupted[1] / "round-000002"), *where])
    lines = [json.loads(line) for line in (tmp_path / "latest" / "events.jsonl").read_text().splitlines()]
    loaded, started = lines[0]["data"], lines[1]["data"]
    saved = [line["data"] for line in lines if line["event_type"] == "CHECKPOINT_SAVED"]
    ends = [line["data"] for line in lines if line["event_type"] == "TOLARIA_BATCH_COMPLETED"]

    assert 0 == status
    assert ["CHECKPOINT_LOADED", "TRAINING_STARTED"] == [line["event_type"] for line in lines[:2]]
    assert 4 == loaded["start_episode"] == started["start_episode"]
    assert str(uninterrupted[1] / "round-000002") == started["resume_path"]
    assert [(3, 6), (4, 8)] == [(end["batch_idx"], end["episodes_completed"]) for end in ends]
    assert [8] == [event["episodes_completed"] for event in saved]
    assert Path(saved[0]["path"]).stat().st_size == saved[0]["size_bytes"]
    assert ("finished", 4) == (lines[-1]["data"]["outcome"], lines[-1]["data"]["rounds"])
