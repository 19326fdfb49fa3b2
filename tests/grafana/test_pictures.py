"""Pictures of the dashboards: which are made, and the runs that they are made of."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

from grafana.boards import BOARDS
from scripts.pictures.replay import NAME, replay
from scripts.pictures.runs import ALL, DEMO
from scripts.pictures.shots import SHOTS, of_every_board
from tests.tools import ROOT


def test_every_board_is_looked_at_with_every_run_in_both_widths_and_themes(tmp_path: Path) -> None:
    sights = list(of_every_board(tmp_path, dict.fromkeys(ALL, (0.0, 1.0))))

    seen = {(sight.uid, sight.run, sight.theme, width) for sight in sights for width in sight.pictures}
    of_runs = [(board.uid, run) for board in BOARDS for run in ALL if board.domain != "runs" or run == DEMO]
    assert {(*one, theme, width) for one in of_runs for theme in ("dark", "light") for width in (1366, 1920)} == seen
    paths = [path for sight in sights for path in sight.pictures.values()]
    assert len(set(paths)) == len(paths)


def test_every_picture_of_the_documentation_is_one_that_is_made() -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/guides/dashboards.md"))

    assert {shot.name for shot in SHOTS} == {
        name for name in (shot.name for shot in SHOTS) if f"images/{name})" in text
    }


def test_a_recording_is_replayed_as_if_it_trained_now(tmp_path: Path) -> None:
    recording = tmp_path / "old.jsonl.gz"
    recording.write_bytes(gzip.compress(b'{"event_type":"A","timestamp":"2026-01-01T00:00:00+00:00"}\n' * 2))
    began = datetime.now(UTC)

    replay(recording, tmp_path / "telemetry_old", 0.0)

    events = [json.loads(line) for line in (tmp_path / "telemetry_old" / NAME).read_text().splitlines()]
    assert ["A", "A"] == [event["event_type"] for event in events]
    assert all(datetime.fromisoformat(event["timestamp"]) >= began for event in events)
