"""A reward of January 2026 bears the operation that was decided, as esper-lite's own view says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esper_otel.sql import connect
from tests.sql.made_logs import line

INNER = {"action_name": "WAIT", "action_success": True, "total_reward": 0.5}


@pytest.mark.parametrize(
    ("outer", "expected"),
    [({"action_name": "PRUNE", "action_success": False}, ("PRUNE", False)), ({}, ("WAIT", True))],
    ids=["decided otherwise", "no decision"],
)
def test_the_operation_is_the_decided_one(tmp_path: Path, outer: dict[str, Any], expected: tuple[str, bool]) -> None:
    payload = {"kind": "last_action", "env_id": 0, "reward_components": INNER, **outer}
    (tmp_path / "events.jsonl").write_bytes(line("ANALYTICS_SNAPSHOT", payload, 1))

    with connect(tmp_path) as connection:
        rewards = connection.execute("SELECT action_name, action_success, total_reward FROM rewards").fetchall()
        decisions = connection.execute("SELECT action_name, action_success FROM decisions").fetchall()
        assert [] == connection.execute("FROM rejected_fields").fetchall()
    assert [(*expected, 0.5)] == rewards
    assert ([expected] if outer else []) == decisions
