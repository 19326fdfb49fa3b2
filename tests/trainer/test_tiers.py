"""What is collected at which cost, and that looking changes nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import esper_otel
from esper_otel.events import EVENT_TYPES
from esper_otel.events.declare import Tier
from esper_otel.signals.registry import declared_fields
from trainer.__main__ import final_weights
from trainer.recipes import RECIPES
from trainer.simic.emission import Emitter
from trainer.simic.loop import Training
from trainer.tiers import LEVELS, Tiers
from trainer.tolaria.weights import digest

LOOKED_AT = {"TAMIYO_POLICY_UPDATE": "grad_norm_per_layer", "TOLARIA_EPOCH_COMPLETED": "grad_norm_per_layer"}


def test_the_medium_tier_looks_closely_at_the_first_batch_and_every_nth_after_it():
    tiers = Tiers(level="medium", every=3)

    assert [1, 4, 7] == [batch for batch in range(1, 10) if tiers.at(batch).medium]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("off", (False, False, False)),
        ("low", (True, False, False)),
        ("medium", (True, False, False)),
        ("high", (True, True, True)),
    ],
)
def test_a_level_says_what_a_batch_between_two_close_looks_collects(level, expected):
    depth = Tiers(level=level, every=5).at(3)

    assert expected == (depth.low, depth.medium, depth.high)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [({"level": "full"}, "'full' is not one of off, low, medium, high"), ({"every": 0}, "every 0 batches")],
)
def test_a_tier_that_does_not_exist_is_refused(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        Tiers(**given)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[str, list[dict]]]:
    """Digest of the weights and records of the log, by level."""
    found = {}
    for level in LEVELS:
        settings = replace(RECIPES["smoke"].environment, episode_length=12)
        recipe = replace(RECIPES["smoke"], rounds=2, environment=settings, diagnostics=level)
        telemetry = esper_otel.configure(telemetry_dir=tmp_path_factory.mktemp(level), relay=False)
        training = Training(recipe, Emitter())
        training.run()
        esper_otel.shutdown()
        lines = (Path(telemetry.run_dir) / "events.jsonl").read_text().splitlines()
        found[level] = digest(final_weights(training)), [json.loads(line) for line in lines]
    return found


def payloads(records: list[dict], event_type: str) -> list[dict]:
    return [record["data"] for record in records if record["event_type"] == event_type]


def test_looking_closely_changes_no_weight(runs):
    assert 1 == len({weights for weights, _ in runs.values()})


@pytest.mark.parametrize("event_type", LOOKED_AT)
@pytest.mark.parametrize(("level", "share"), [("off", 0.0), ("low", 0.0), ("medium", 0.5), ("high", 1.0)])
def test_medium_fields_come_with_every_nth_batch_at_medium_and_always_at_high(runs, event_type, level, share):
    found = payloads(runs[level][1], event_type)
    half = len(found) // 2

    looked_at = [LOOKED_AT[event_type] in data for data in found]
    assert {0.0: [], 0.5: [True] * half, 1.0: [True] * len(found)}[share] == [x for x in looked_at if x][
        : half if share == 0.5 else None
    ]


@pytest.mark.parametrize("level", ["off", "low"])
@pytest.mark.parametrize("event_type", ["TAMIYO_POLICY_UPDATE", "TOLARIA_EPOCH_COMPLETED", "KASMINA_SEED_DIVERSITY"])
def test_no_field_that_is_declared_medium_is_collected_below_it(runs, level, event_type):
    dear = {
        name
        for name, (_, declaration) in declared_fields(EVENT_TYPES[event_type]).items()
        if declaration.tier is not Tier.LOW
    }

    assert set() == {name for data in payloads(runs[level][1], event_type) for name in data} & dear


def test_switched_off_an_update_still_tells_what_training_needs_to_know(runs):
    (first, *_) = payloads(runs["off"][1], "TAMIYO_POLICY_UPDATE")

    assert {"policy_loss", "value_loss", "pre_clip_grad_norm", "kl_divergence"} <= set(first)
    assert not {"head_entropy", "explained_variance", "ratio_max", "return_mean"} & set(first)
