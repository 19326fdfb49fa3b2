"""Events written in esper-lite's spelling say what they said, and are counted once."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.esper_lite.dialect.legacy import LegacyWriter
from esper_otel.events import (
    EVENT_TYPES,
    AllocatorStats,
    BatchStats,
    Decision,
    EpochCompleted,
    Event,
    Heartbeat,
    PhaseProfile,
    PolicyUpdate,
    RewardComputed,
    SeedGerminated,
    SeedSnapshot,
    UpdateSkipped,
)
from esper_otel.log.duplicates import Duplicates
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.log.writer import Writer
from tests.upstream.any_event import comparable, events
from tests.upstream.log_lines import Log, payloads, recorded

ALONE = sorted(set(EVENT_TYPES.values()) - {Decision, RewardComputed}, key=lambda cls: cls.__name__)
STEP: dict[str, Any] = {"env_id": 1, "episode_idx": 2, "inner_epoch": 3}
RELAXED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(log: Log) -> list[Event]:
    adapted = [adapt(record) for record in log.counted_once()]
    assert all(each.unknown_fields == () and each.mistyped == () for each in adapted), adapted
    return [event for each in adapted for event in each.events]


def payload_of(line: bytes) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(line)["data"]
    return payload


@pytest.mark.parametrize("mode", ["legacy", "domains/dup"])
def test_a_run_in_the_log_of_a_real_writer_reads_as_what_was_emitted(mode: str, tmp_path: Path) -> None:
    emitted = [event for record, _ in payloads(recorded("esper-lite-2env")) for event in adapt(record).events]
    writer = Writer(tmp_path, "run", heartbeat_s=0, legacy=LegacyWriter(mode), legacy_repeats=mode == "domains/dup")
    for event in emitted:
        writer.put((event, time.time_ns(), "default", None, None))
    writer.close(timeout_s=10.0)

    duplicates = Duplicates()
    with LogReader(tmp_path) as reader:
        records = [item for item in reader.read(10_000) if isinstance(item, Record)]
    found = [event for record in records if not duplicates.is_repeated(record) for event in adapt(record).events]

    assert Counter(map(repr, emitted)) == Counter(map(repr, found))


@pytest.mark.parametrize("mode", ["legacy", "domains/dup"])
@pytest.mark.parametrize("cls", ALONE, ids=lambda cls: cls.__name__)
def test_every_event_survives_the_old_spelling(cls: type[Event], mode: str) -> None:
    @RELAXED
    @given(events(cls))
    def survives(event: Event) -> None:
        log = Log(mode)
        log.emit(event)
        log.close()

        assert [comparable(event)] == [comparable(found) for found in read(log)]

    survives()


@pytest.mark.parametrize("mode", ["legacy", "domains/dup"])
@RELAXED
@given(decision=events(Decision), reward=events(RewardComputed), reward_first=st.booleans())
def test_a_decision_and_its_reward_survive_the_line_that_they_share(
    mode: str, decision: Decision, reward: RewardComputed, reward_first: bool
) -> None:
    pair: list[Event] = [
        msgspec.structs.replace(decision, action_name="WAIT", **STEP),
        msgspec.structs.replace(reward, **STEP),
    ]
    log = Log(mode)
    log.emit(*(reversed(pair) if reward_first else pair))
    log.close()

    found = sorted((comparable(event) for event in read(log)), key=str)
    assert sorted((comparable(event) for event in pair), key=str) == found


@pytest.mark.parametrize("event", [Decision(action_name="WAIT", **STEP), RewardComputed(total_reward=1.0, **STEP)])
def test_half_a_step_is_written_when_the_log_closes(event: Event) -> None:
    log = Log("legacy")
    log.emit(event)
    assert log.lines == []

    log.close()

    assert [event] == read(log)


def test_half_a_step_is_written_when_the_next_step_of_the_environment_comes() -> None:
    first, second = Decision(env_id=0, inner_epoch=1), Decision(env_id=0, inner_epoch=2)
    other = Decision(env_id=1, inner_epoch=1)
    log = Log("legacy")

    log.emit(first, other, second)

    assert [first] == read(log)


def test_a_reward_of_another_step_is_not_put_into_the_line_of_a_decision() -> None:
    decision, reward = Decision(action_name="WAIT", env_id=0, inner_epoch=1), RewardComputed(env_id=0, inner_epoch=2)
    log = Log("legacy")

    log.emit(decision, reward)
    log.close()

    assert [decision, reward] == read(log)


def test_a_decision_and_its_reward_become_one_old_line() -> None:
    log = Log("legacy")

    log.emit(Decision(action_name="WAIT", **STEP), RewardComputed(total_reward=1.5, **STEP))

    (line,) = log.lines
    assert "ANALYTICS_SNAPSHOT" == json.loads(line)["event_type"]
    payload = payload_of(line)
    assert ("last_action", "WAIT", 1.5) == (
        payload["kind"],
        payload["action_name"],
        payload["reward_components"]["total_reward"],
    )


def test_old_and_new_line_of_an_event_share_identity_and_the_new_one_comes_first() -> None:
    log = Log("domains/dup")

    log.emit(EpochCompleted(env_id=0, val_loss=1.0))

    new, old = (json.loads(line) for line in log.lines)
    assert ["TOLARIA_EPOCH_COMPLETED", "EPOCH_COMPLETED"] == [new["event_type"], old["event_type"]]
    assert (new["event_id"], new["seq"]) == (old["event_id"], old["seq"])


def test_in_both_vocabularies_at_once_a_half_step_is_counted_once() -> None:
    steps = [Decision(env_id=0, inner_epoch=epoch) for epoch in (1, 2, 3)]
    log = Log("domains/dup")
    log.emit(*steps)
    log.close()

    assert steps == read(log)
    assert 3 == sum(b"ANALYTICS_SNAPSHOT" in line for line in log.lines)


@pytest.mark.parametrize(
    "event", [SeedGerminated(seed_id="s", env_id=0), Heartbeat(uptime_s=1.0), PhaseProfile(batch_idx=3)]
)
def test_an_event_of_one_name_is_written_once(event: Event) -> None:
    log = Log("domains/dup")

    log.emit(event)

    assert 1 == len(log.lines)
    assert [event] == read(log)


def test_an_event_that_is_spelled_alike_in_both_vocabularies_is_written_as_it_is() -> None:
    event = SeedGerminated(seed_id="s")

    ((_, payload),) = LegacyWriter("domains/dup").lines(event)

    assert event is payload


@pytest.mark.parametrize("cls", [PhaseProfile, AllocatorStats])
def test_old_lines_count_the_batches_of_profiles_from_zero(cls: type[PhaseProfile | AllocatorStats]) -> None:
    log = Log("legacy")

    log.emit(cls(batch_idx=1))

    assert 0 == payload_of(log.lines[0])["batch_idx"]
    assert [cls(batch_idx=1)] == read(log)


def test_a_skipped_update_is_counted_once_beside_the_statistics_of_its_batch() -> None:
    log = Log("legacy")

    log.emit(UpdateSkipped(reason="nonfinite_loss", batch=1), BatchStats(batch=1, skipped_update=True))

    assert 1 == sum(isinstance(event, UpdateSkipped) for event in read(log))


def test_maps_by_head_become_columns_and_maps_by_operation_lists() -> None:
    log = Log("legacy")

    log.emit(PolicyUpdate(head_entropy={"op": 0.5}, op_q_values={"GERMINATE": 0.25}, value_target_correlation=0.1))

    payload = payload_of(log.lines[0])
    assert 0.5 == payload["head_op_entropy"]
    assert [None, 0.25, None, None, None, None] == payload["op_q_values"]
    assert 0.1 == payload["v_return_correlation"]


def test_keys_that_have_no_column_stay_in_their_map() -> None:
    update = PolicyUpdate(head_entropy={"op": 0.5, "a_new_head": 0.25})
    log = Log("legacy")

    log.emit(update)

    assert 0.5 == payload_of(log.lines[0])["head_op_entropy"]
    assert [update] == read(log)


def test_a_field_whose_first_alias_is_the_plan_s_is_written_as_esper_lite_calls_it() -> None:
    log = Log("legacy")

    log.emit(EpochCompleted(host_train_loss=0.5), PolicyUpdate(batch=2))

    assert (0.5, 2) == (payload_of(log.lines[0])["train_loss"], payload_of(log.lines[1])["batch"])


def test_names_that_old_readers_insist_on_are_null_when_nothing_was_measured() -> None:
    log = Log("legacy")

    log.emit(EpochCompleted(env_id=0))

    payload = payload_of(log.lines[0])
    assert {"env_id": 0} | dict.fromkeys(
        ("val_accuracy", "val_loss", "inner_epoch", "episode_idx", "observation_stats")
    ) == payload


def test_positional_lists_have_their_length_even_when_nothing_was_measured() -> None:
    log = Log("legacy")

    log.emit(PolicyUpdate(policy_loss=1.0))

    assert [None] * 6 == payload_of(log.lines[0])["op_q_values"]
    assert [PolicyUpdate(policy_loss=1.0)] == read(log)


def test_a_seed_s_gradient_health_goes_by_its_old_name_inside_the_epoch() -> None:
    log = Log("legacy")

    log.emit(EpochCompleted(seeds={"r0c0": SeedSnapshot(gradient_health=0.5)}))

    assert {"r0c0": {"grad_ratio": 0.5}} == payload_of(log.lines[0])["seeds"]


def test_rents_are_stored_positive_in_old_lines_and_signed_in_events() -> None:
    reward = RewardComputed(components={"occupancy_rent": -0.25, "stage_bonus": 0.5}, **STEP)
    log = Log("legacy")

    log.emit(reward)
    log.close()

    inside = payload_of(log.lines[0])["reward_components"]
    assert (0.25, 0.5) == (inside["occupancy_rent"], inside["stage_bonus"])
    assert [reward] == read(log)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'domains/dup' or 'legacy', not 'both'"):
        LegacyWriter("both")


def test_what_was_held_back_is_given_out_once() -> None:
    writer = LegacyWriter("legacy")
    writer.lines(Decision(env_id=0))

    assert (1, 0) == (len(writer.flush()), len(writer.flush()))


def test_head_telemetry_has_every_head_once_one_is_measured() -> None:
    log = Log("legacy")

    log.emit(Decision(head_confidence={"alpha_curve": 0.5}, **STEP))
    log.close()

    inside = payload_of(log.lines[0])["head_telemetry"]
    assert 16 == len(inside)
    assert (0.5, None) == (inside["curve_confidence"], inside["op_entropy"])


def test_an_event_whose_values_have_the_wrong_type_is_written_all_the_same() -> None:
    log = Log("legacy")

    log.emit(PolicyUpdate(head_entropy=0.5, op_q_values="none", batch=[1]))  # type: ignore[arg-type]  # on purpose

    payload = payload_of(log.lines[0])
    assert (0.5, "none", [1]) == (payload["head_entropy"], payload["op_q_values"], payload["batch"])
