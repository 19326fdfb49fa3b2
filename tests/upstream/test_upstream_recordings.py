"""Real runs of esper-lite: every line is understood, and what it says survives the way through our events and back.

Expected values come from the recorded JSON itself, parsed without our code, or from DuckDB.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.esper_lite.dialect.entropies import over_steps_with_a_choice
from esper_otel.esper_lite.dialect.legacy import LegacyWriter
from esper_otel.events import Decision, Event, PolicyUpdate, RewardComputed
from tests.recorded import RECORDINGS
from tests.upstream.log_lines import payloads, recorded

NOT_MEASURED = {
    "BATCH_EPOCH_COMPLETED": {"start_episode", "requested_episodes"},
    "PERFORMANCE_DEGRADATION": {"env_id"},
    "PPO_UPDATE_COMPLETED": {
        *("amp_overflow_detected", "cuda_memory_allocated_gb", "cuda_memory_fragmentation", "cuda_memory_peak_gb"),
        *("cuda_memory_reserved_gb", "entropy_loss", "grad_norm", "skipped", "update_skipped"),
    },
    "SEED_GERMINATED": {"grad_ratio", "has_vanishing", "has_exploding"},
    "SEED_PRUNED": {"reason"},
    "TRAINING_STARTED": {"resume_path", "amp_enabled"},
    "ANALYTICS_SNAPSHOT": {"observation_stats"},
}
"""Recorded values that say nothing, or that travel as an event of their own."""


MAY_BE_ABSENT = (
    *("grad_ratio", "has_vanishing", "has_exploding"),
    *("contribution_velocity", "interaction_sum", "boost_received"),
)
"""Values of a seed that are left out where its gradients were not looked at, or before it has weight."""


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_line_of_a_real_run_is_understood_completely(name: str) -> None:
    for record, _ in payloads(recorded(name)):
        adapted = adapt(record)

        assert (None, (), ()) == (adapted.reason, adapted.unknown_fields, adapted.mistyped), record.event_type


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_line_of_a_real_run_becomes_one_event_and_one_for_each_part_inside_it(name: str) -> None:
    expected: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for record, payload in payloads(recorded(name)):
        parts = ("reward_components", "observation_stats")
        expected[record.event_type] += 1 + sum(payload.get(part) is not None for part in parts)
        found[record.event_type] += len(adapt(record).events)

    assert expected == found


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_real_run_written_back_in_the_old_spelling_says_what_it_said(name: str) -> None:
    for record, payload in payloads(recorded(name)):
        writer = LegacyWriter("legacy")
        events = [event for event in adapt(record).events if event.legacy_type or event.event_type == record.event_type]
        written = [(kind, body) for event in events for kind, body in writer.lines(event)]
        written += [(kind, body) for kind, body, _ in writer.flush()]

        ((event_type, body),) = written
        assert record.event_type == event_type
        assert isinstance(body, dict)
        assert_says(payload, json.loads(json.dumps(body)), NOT_MEASURED.get(event_type, set()))


@pytest.mark.parametrize("name", RECORDINGS)
def test_sums_over_a_real_run_equal_duckdb_s(name: str, tmp_path: Path) -> None:
    plain = tmp_path / "events.jsonl"
    plain.write_bytes(b"".join(recorded(name)).replace(b"NaN", b"null"))
    relation = duckdb.sql(
        f"""
        SELECT sum((data->>'$.total_reward')::DOUBLE), sum((data->>'$.decision_entropy')::DOUBLE),
               sum((data->>'$.policy_loss')::DOUBLE), sum((data->>'$.head_op_entropy')::DOUBLE),
               sum((data->>'$.reward_components.stage_bonus')::DOUBLE)
        FROM read_ndjson('{plain}', columns = {{data: 'JSON'}})
        """
    )
    assert relation is not None
    reward, entropy, loss, op_entropy, stage_bonus = relation.fetchall()[0]
    events: list[Event] = [event for record, _ in payloads(recorded(name)) for event in adapt(record).events]
    decisions = [event for event in events if isinstance(event, Decision)]
    updates = [event for event in events if isinstance(event, PolicyUpdate)]
    rewards = [event for event in events if isinstance(event, RewardComputed)]

    assert reward == pytest.approx(sum(event.total_reward or 0.0 for event in decisions))
    assert entropy == pytest.approx(sum(event.decision_entropy or 0.0 for event in decisions))
    assert loss == pytest.approx(sum(event.policy_loss or 0.0 for event in updates))
    assert op_entropy == pytest.approx(sum((event.head_entropy or {})["op"] for event in updates))
    assert stage_bonus == pytest.approx(sum((event.components or {})["stage_bonus"] for event in rewards))


def test_the_loss_that_set_off_a_real_rollback_is_still_nan() -> None:
    (losses,) = (
        [event.loss_at_panic for event in adapt(record).events]  # type: ignore[attr-defined]
        for record, _ in payloads(recorded("esper-lite-rollback"))
        if record.event_type == "GOVERNOR_ROLLBACK"
    )

    assert math.isnan(losses[0])


def assert_says(recorded_value: Any, written: Any, not_measured: set[str]) -> None:
    """What was recorded is what is written, apart from nulls, text that is a number, and what was not measured."""
    if isinstance(recorded_value, dict):
        for name, value in recorded_value.items():
            if value is not None and name not in not_measured:
                assert_says(value, say(written, name, value), not_measured)
    elif isinstance(recorded_value, float) and math.isnan(recorded_value):
        assert math.isnan(written)
    else:
        assert recorded_value == (str(written) if isinstance(recorded_value, str) else written)


def say(written: dict[str, Any], name: str, value: Any) -> Any:
    """What is written under ``name``; of a seed may be absent what was recorded as 0 or False."""
    unmeasured = name in MAY_BE_ABSENT and not value
    return written.get(name, value) if unmeasured else written[name]


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_metric_of_a_heads_entropy_is_over_the_steps_that_gave_it_a_choice(name: str) -> None:
    checked = 0
    for record, payload in payloads(recorded(name)):
        for event in map(over_steps_with_a_choice, adapt(record).events):
            for head, entropy in ((event.head_entropy if isinstance(event, PolicyUpdate) else None) or {}).items():
                choice = payload[f"head_{head}_learnable_fraction"]
                assert choice > 0
                assert payload[f"head_{head}_entropy"] == pytest.approx(entropy * choice, rel=1e-4)
                checked += 1
    assert checked > 10
