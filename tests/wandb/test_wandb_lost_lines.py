"""A log that lost lines which W&B has, and goes on: the new ones are shown, each once."""

from __future__ import annotations

import json
from pathlib import Path

from esper_otel.relay.position import LogPosition
from esper_otel.relay.wandb.lines import is_shown


def line(seq: int) -> bytes:
    head = {"event_id": f"run-0-{seq}", "event_type": "TAMIYO_POLICY_UPDATE", "timestamp": "2026-01-02T03:04:05Z"}
    return json.dumps({**head, "data": {"batch": seq}, "run_id": "run", "rank": 0, "seq": seq}).encode() + b"\n"


def numbers(lines: LogPosition) -> list[int | None]:
    return [item.record.seq for item in lines.read(100) or [] if item.record is not None]


def test_rows_of_new_lines_are_made_where_lost_ones_were(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(b"".join(map(line, (1, 2, 3, 4))))
    before = LogPosition(tmp_path, follow=True, wanted=is_shown)
    assert [1, 2, 3, 4] == numbers(before)
    stored = json.loads(json.dumps(before.state))
    before.close()
    log.write_bytes(b"".join(map(line, (1, 2, 10**15, 10**15 + 1, 10**15 + 2))))
    after = LogPosition(tmp_path, follow=True, stored=stored, wanted=is_shown)

    assert [10**15, 10**15 + 1, 10**15 + 2] == numbers(after)
    after.close()
