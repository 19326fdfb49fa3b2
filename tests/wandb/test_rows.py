"""The rows that go to W&B: the plan's names, one curve for many environments, the same numbers after a restart."""

from __future__ import annotations

import json
import math

import pytest

from esper_otel.events import BatchCompleted, EpisodeOutcome, EpochCompleted, InfrastructureSnapshot, PolicyUpdate
from esper_otel.events.declare import Event
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.wandb.columns import COLUMNS, row_of
from esper_otel.relay.wandb.rows import GroupRows

RECOMMENDED = (
    *("tamiyo/policy_loss", "tamiyo/value_loss", "tamiyo/entropy", "tamiyo/kl_divergence", "tamiyo/pre_clip_grad_norm"),
    *("tamiyo/ppo_update_idx", "tamiyo/head_{key}_entropy", "tamiyo/head_{key}_kl", "tamiyo/head_{key}_clip_fraction"),
    *("tolaria/train_loss", "tolaria/val_accuracy", "tolaria/forward_time_ms", "tolaria/backward_time_ms"),
    *("simic/episode_reward", "simic/stability_score"),
    *("infra/gpu_utilization_pct", "infra/cuda_memory_active_gb", "infra/compile_graph_breaks"),
)
"""Names of the plan's Appendix F."""

CHARTED = (
    *("tamiyo/pre_clip_grad_norm", "tamiyo/grad_norm", "tamiyo/kl_divergence", "tamiyo/approx_kl_max"),
    *("tamiyo/clip_fraction", "tamiyo/explained_variance", "tamiyo/value_target_correlation"),
    *("infra/cuda_memory_allocated_gb", "infra/avg_forward_time_ms"),
)
"""What its five custom charts are drawn from."""


def rows_of(*events: Event) -> list[dict[str, float | int]]:
    """The rows of a run that ends with these events."""
    group = GroupRows(AttributeLimits())
    return [row for event in events for _, row in group.feed(event)] + [row for _, row in group.finish()]


@pytest.mark.parametrize("name", [*RECOMMENDED, *CHARTED])
def test_every_recommended_name_is_a_column(name: str) -> None:
    assert name in {column.name for columns in COLUMNS.values() for column in columns}


def test_no_two_columns_share_a_name() -> None:
    for columns in COLUMNS.values():
        assert len({column.name for column in columns}) == len(columns)


def test_a_map_gives_a_column_for_each_key() -> None:
    update = PolicyUpdate(policy_loss=0.5, head_entropy={"slot": 0.25}, op_distribution={"WAIT": 1.0})

    assert row_of(update, AttributeLimits()) == {
        "tamiyo/policy_loss": 0.5,
        "tamiyo/op_distribution/WAIT": 1.0,
        "tamiyo/head_slot_entropy": 0.25,
    }


def test_what_was_not_measured_is_no_cell_and_what_is_not_finite_is_one() -> None:
    (row,) = rows_of(PolicyUpdate(pre_clip_grad_norm=math.inf, policy_loss=math.nan))

    assert {"tamiyo/update", "tamiyo/policy_loss", "tamiyo/pre_clip_grad_norm"} == set(row)
    assert math.isinf(row["tamiyo/pre_clip_grad_norm"])


def test_updates_are_counted_over_the_run_though_their_index_starts_again_in_each_batch() -> None:
    rows = rows_of(*(PolicyUpdate(ppo_update_idx=index) for index in (1, 2, 1)))

    assert [(1, 1), (2, 2), (3, 1)] == [(row["tamiyo/update"], row["tamiyo/ppo_update_idx"]) for row in rows]


def test_an_epoch_is_the_mean_of_its_environments_with_each_of_them_beside_it() -> None:
    first, second = rows_of(
        EpochCompleted(env_id=0, inner_epoch=1, val_loss=1.0),
        EpochCompleted(env_id=1, inner_epoch=1, val_loss=3.0),
        EpochCompleted(env_id=0, inner_epoch=2, val_loss=0.5),
    )

    assert (1, 2.0) == (first["tolaria/epoch"], first["tolaria/val_loss"])
    assert (1.0, 3.0) == (first["tolaria/env_0/val_loss"], first["tolaria/env_1/val_loss"])
    assert (2, 0.5) == (second["tolaria/epoch"], second["tolaria/val_loss"])
    assert "tolaria/env_0/val_loss" not in second


def test_the_outcomes_of_a_batch_come_with_its_end() -> None:
    outcomes, batch = rows_of(
        EpisodeOutcome(env_id=0, episode_reward=1.0),
        EpisodeOutcome(env_id=1, episode_reward=2.0),
        BatchCompleted(avg_accuracy=50.0),
    )

    assert (1, 1.5) == (outcomes["simic/batch"], outcomes["simic/episode_reward"])
    assert (1, 50.0) == (batch["simic/batch"], batch["tolaria/avg_accuracy"])


def test_devices_are_told_apart() -> None:
    snapshots = (InfrastructureSnapshot(device=f"cuda:{n}", batch_idx=4, gpu_utilization_pct=50.0 * n) for n in (0, 1))
    (row,) = rows_of(*snapshots)

    assert row == {
        "infra/batch": 4,
        "infra/gpu_utilization_pct": 25.0,
        "infra/cuda:0/gpu_utilization_pct": 0.0,
        "infra/cuda:1/gpu_utilization_pct": 50.0,
    }


@pytest.mark.parametrize("cut", range(6))
def test_a_restart_anywhere_gives_the_same_rows_with_the_same_numbers(cut: int) -> None:
    events = [
        PolicyUpdate(policy_loss=1.0),
        EpochCompleted(env_id=0, inner_epoch=1, val_loss=math.nan),
        EpochCompleted(env_id=1, inner_epoch=1, val_accuracy=3.0),
        EpisodeOutcome(env_id=0, episode_reward=-math.inf),
        BatchCompleted(batch_idx=1, avg_accuracy=50.0),
        PolicyUpdate(policy_loss=2.0),
    ]
    whole, before = GroupRows(AttributeLimits()), GroupRows(AttributeLimits())
    expected = [stepped for event in events for stepped in whole.feed(event)] + whole.finish()

    found = [stepped for event in events[:cut] for stepped in before.feed(event)]
    after = GroupRows(AttributeLimits(), json.loads(json.dumps(before.state, allow_nan=False)))
    found += [stepped for event in events[cut:] for stepped in after.feed(event)] + after.finish()

    assert repr(expected) == repr(found)
    assert list(range(len(expected))) == [step for step, _ in found]


def test_a_row_has_the_time_of_the_last_event_in_it() -> None:
    group = GroupRows(AttributeLimits())
    made = group.feed(PolicyUpdate(entropy=1.0), 100.0)
    made += group.feed(EpochCompleted(env_id=0, inner_epoch=1, val_accuracy=1.0), 101.0)
    made += group.feed(EpochCompleted(env_id=1, inner_epoch=1, val_accuracy=3.0), 102.5)
    group = GroupRows(AttributeLimits(), json.loads(json.dumps(group.state)))
    made += group.feed(EpochCompleted(env_id=0, inner_epoch=2, val_accuracy=2.0), 110.0)
    made += group.finish()

    assert [100.0, 102.5, 110.0] == [row["_timestamp"] for _, row in made]
