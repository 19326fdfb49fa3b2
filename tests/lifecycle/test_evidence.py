"""The silence that proves a death where a lock does not: longer where the trainer writes rarely."""

from __future__ import annotations

from pathlib import Path

import pytest

import esper_otel
from esper_otel.log import manifest
from esper_otel.log.reading.standing import proving_silence_s
from esper_otel.relay.lifecycle.evidence import Writer, writer_of

STALL_AFTER_S = 300.0


@pytest.mark.parametrize(
    ("heartbeat_s", "silent_s", "found"),
    [
        (5.0, 14, Writer.UNKNOWN),
        (5.0, 16, Writer.FREE),
        (60.0, 170, Writer.UNKNOWN),
        (60.0, 190, Writer.FREE),
        (0.0, 290, Writer.UNKNOWN),
        (0.0, 310, Writer.FREE),
    ],
)
def test_a_lock_of_another_machine_that_looks_free_proves_a_death_after_three_missed_heartbeats(
    tmp_path: Path, heartbeat_s: float, silent_s: float, found: Writer
) -> None:
    run = esper_otel.configure(telemetry_dir=tmp_path, run_id="r", relay=False, heartbeat_s=heartbeat_s).run_dir
    esper_otel.shutdown()
    lock = run / ".writer.rank0.lock"
    text = lock.read_text()
    place = text.partition('"place": "')[2].partition("/")[0]
    lock.write_text(text.replace(place, "x" * len(place)))
    proving_s = proving_silence_s(manifest.read(run), STALL_AFTER_S)

    assert found is writer_of(run, 0, silent_s=silent_s, proving_s=proving_s)


def test_a_manifest_of_an_earlier_version_has_the_usual_heartbeats() -> None:
    assert 15 == proving_silence_s({}, STALL_AFTER_S)
