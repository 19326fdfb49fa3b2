"""A/B runs of esper-lite: its arms come one after the other in one log, and some events do not say whose they are."""

from __future__ import annotations

from esper_otel.esper_lite.dialect.arms import Arms
from esper_otel.log.envelope import Record
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.state import MetricState
from tests.upstream.log_lines import foreign, ours


def groups(*records: Record, arms: Arms | None = None) -> list[str]:
    arms = arms or Arms()
    return [arms.attributed(record).group_id for record in records]


def start(group: str) -> Record:
    return foreign("TRAINING_STARTED", {}, group_id=group)


STRAY = foreign("TAMIYO_INITIATED", {"env_id": 0})


def test_a_stray_event_belongs_to_the_arm_that_is_being_trained() -> None:
    assert ["A", "A", "B", "B"] == groups(start("A"), STRAY, start("B"), STRAY)


def test_an_event_that_names_its_group_keeps_it() -> None:
    assert ["A", "C"] == groups(start("A"), foreign("TAMIYO_INITIATED", {}, group_id="C"))


def test_a_run_without_groups_after_an_a_b_run_has_the_default_group() -> None:
    assert ["A", "default", "default"] == groups(start("A"), start("default"), STRAY)


def test_what_comes_before_any_training_has_no_arm() -> None:
    assert ["default", "A"] == groups(STRAY, start("A"))


def test_our_own_lines_say_what_they_mean() -> None:
    assert ["A", "default"] == groups(start("A"), ours("TAMIYO_INITIATED", {}))


def test_each_log_has_arms_of_its_own() -> None:
    other = foreign("TAMIYO_INITIATED", {}, source="other.jsonl")

    assert ["A", "default"] == groups(start("A"), other)


def test_a_restarted_reader_knows_the_arm() -> None:
    before = Arms()
    before.attributed(start("A"))

    assert ["A"] == groups(STRAY, arms=Arms(before.state))


def test_a_restarted_relay_knows_the_arm() -> None:
    before = Ingest()
    before.take(_numbered(start("A"), 1))

    record = Ingest(before.state).take(_numbered(STRAY, 2)).record
    assert record is not None
    assert "A" == record.group_id


def two_arms() -> MetricState:
    """Two arms with the same seed, episode and event numbers, as esper-lite gives them, and a heartbeat of ours."""
    ingest, state = Ingest(), MetricState()
    at = 0
    for arm in "AB":
        lines: list[tuple[str, dict[str, object], str]] = [
            ("TRAINING_STARTED", {"episode_id": "ppo_42_4ep", "n_envs": 2}, arm),
            ("TAMIYO_INITIATED", {"env_id": 0}, "default"),
            ("SEED_GERMINATED", {"slot_id": "r0c0", "env_id": 0, "blueprint_id": "norm", "params": 1}, arm),
            ("EPISODE_OUTCOME", {"env_id": 0, "episode_idx": 0, "episode_reward": 1.0}, arm),
        ]
        for event_type, payload, group in lines:
            at += 1
            record = foreign(event_type, payload, group_id=group, seed_id="ep0_env0_seed_0")
            line = ingest.take(_numbered(record, at))
            assert line.record is not None
            for event in line.events:
                state.apply(event, group_id=line.record.group_id, rank=0, timestamp_ns=at)
    heartbeat = ours("HEARTBEAT", {"uptime_s": 5.0})
    for event in Ingest().take(heartbeat).events:
        state.apply(event, group_id="default", rank=0, timestamp_ns=at)
    return state


def _numbered(record: Record, number: int) -> Record:
    return Record(**{name: getattr(record, name) for name in record.__struct_fields__} | {"event_id": str(number)})


def test_arms_that_use_the_same_ids_are_counted_apart() -> None:
    families = {family.name: family.points for family in two_arms().collect(0)}

    germinated = families["kasmina.germinations"]
    assert {"A": 1.0, "B": 1.0} == {
        group: sum(count for values, count in germinated.items() if values[0] == group) for group in "AB"
    }


def test_an_a_b_run_has_no_series_of_training_in_the_default_group() -> None:
    strays = {
        family.name
        for family in two_arms().collect(0)
        for values in family.points
        if "group_id" in family.attributes and values[family.attributes.index("group_id")] == "default"
    }

    assert set() == {name for name in strays if not name.startswith("esper.")}


def test_the_first_line_of_a_domain_creates_its_counters_whatever_it_is_about() -> None:
    state = MetricState()
    for event in Ingest().take(ours("TAMIYO_UPDATE_SKIPPED", {"reason": "no_data"})).events:
        state.apply(event, group_id="default", rank=0, timestamp_ns=1)

    assert "tamiyo.grad_norm_violations" in {family.name for family in state.collect(1)}
