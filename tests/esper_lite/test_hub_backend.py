"""The backend for esper-lite's hub: everything that it is handed is in the log, and none of it can hurt training."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.esper_lite.producer.hub_backend import EsperOtelOutput
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.runtime import telemetry as runtime
from tests.esper_lite.hub_shapes import CountingHub, Emitted, JanuaryHub, Kind, LaterEmitted, Payload, emitted
from tests.recorded import RECORDINGS
from tests.upstream.log_lines import payloads, recorded

HUB_QUEUE = 100
"""Events that esper-lite's hub keeps for a backend."""


@pytest.fixture
def open_run(tmp_path: Path) -> Iterator[Callable[[], runtime.Telemetry]]:
    yield lambda: runtime.configure(telemetry_dir=tmp_path, run_id="run", relay=False, heartbeat_s=0)
    runtime.shutdown()


def logged(tmp_path: Path) -> list[dict[str, Any]]:
    """The lines of the run, without the one that says how it ended."""
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event_type"] != "RUN_ENDED"]


def records(tmp_path: Path) -> list[Record]:
    with LogReader(tmp_path / "run") as reader:
        return [item for item in reader.read(10_000) if isinstance(item, Record) and item.event_type != "RUN_ENDED"]


def written(tmp_path: Path, open_run: Callable[[], runtime.Telemetry], *events: Any) -> list[dict[str, Any]]:
    backend = EsperOtelOutput(open_run=open_run)
    for event in events:
        backend.emit(event)
    backend.close()
    return logged(tmp_path)


def outcome(tmp_path: Path) -> tuple[str, str | None]:
    ended = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])["data"]
    return ended["outcome"], ended.get("detail")


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_real_run_through_the_backend_means_what_its_own_file_means(
    name: str, tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    raw = recorded(name)
    backend = EsperOtelOutput(open_run=open_run)
    for line in raw:
        backend.emit(emitted(line))
    backend.close()
    theirs = [record for record, _ in payloads(raw)]
    ours = records(tmp_path)

    assert [record.event_id for record in theirs] == [record.event_id for record in ours]
    for their, our in zip(theirs, ours, strict=True):
        assert repr(adapt(their)) == repr(adapt(our))  # as text: NaN differs from itself
        assert (their.group_id, their.epoch, their.severity) == (our.group_id, our.epoch, our.severity)
        assert their.timestamp_ns == our.timestamp_ns


def test_lines_are_numbered_and_bear_our_run_but_no_version_of_our_contract(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    lines = written(tmp_path, open_run, Emitted(Kind.EPOCH_COMPLETED), Emitted(Kind.EPOCH_COMPLETED))

    assert [("run", 0, 1), ("run", 0, 2)] == [(line["run_id"], line["rank"], line["seq"]) for line in lines]
    assert all("schema_version" not in line for line in lines)


def test_what_esper_lite_did_not_measure_is_as_absent_as_in_its_own_file(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    written(tmp_path, open_run, Emitted("PERFORMANCE_DEGRADATION", Payload({"env_id": 0, "drop_percent": 12.5})))

    (event,) = adapt(records(tmp_path)[0]).events
    assert event.env_id is None  # type: ignore[attr-defined]


def test_types_and_fields_of_a_later_version_are_kept_and_counted(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    later = LaterEmitted(Kind.OF_A_LATER_VERSION, Payload({"novelty": 1}), cohort="x")
    known = Emitted(Kind.EPOCH_COMPLETED, Payload({"env_id": 1, "novelty": 2}))

    first, second = written(tmp_path, open_run, later, known)

    assert ("OF_A_LATER_VERSION", {"novelty": 1}, "x") == (first["event_type"], first["data"], first["cohort"])
    assert {"env_id": 1, "novelty": 2} == second["data"]
    ingest = Ingest()
    taken = [ingest.take(record) for record in records(tmp_path)]
    assert ["unknown_event_type", None] == [line.reason for line in taken]
    assert [(), ("novelty",)] == [line.unknown_fields for line in taken]


def test_non_finite_numbers_and_integers_beyond_64_bits_survive(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    batch = {"kind": "batch_stats", "entropy": math.nan, "kl_divergence": -math.inf}
    causal = {"phase": "proposal", "rng_seed": 2**64 - 1}
    events = [Emitted("ANALYTICS_SNAPSHOT", Payload(batch)), Emitted("MORPHOLOGY_CAUSAL_LOG", Payload(causal))]

    stats, proposal = written(tmp_path, open_run, *events)

    assert ("NaN", "-Infinity", True) == (stats["data"]["entropy"], stats["data"]["kl_divergence"], stats["nonfinite"])
    assert 2**64 - 1 == proposal["data"]["rng_seed"]
    assert records(tmp_path)[0].nonfinite


def test_a_value_that_json_does_not_know_is_written_as_its_text(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    (line,) = written(tmp_path, open_run, Emitted(Kind.EPOCH_COMPLETED, Payload({"path": Path("/x"), "env_id": 0})))

    assert {"path": "/x", "env_id": 0} == line["data"]


def test_numbers_of_numpy_are_numbers(tmp_path: Path, open_run: Callable[[], runtime.Telemetry]) -> None:
    numpy = pytest.importorskip("numpy")

    (line,) = written(tmp_path, open_run, Emitted(Kind.EPOCH_COMPLETED, Payload({"val_loss": numpy.float32(0.5)})))

    assert {"val_loss": 0.5} == line["data"]


class OnAGpu:
    """A tensor of one number on a device, whose text is never asked for."""

    ndim = 0
    device = "cuda:0"

    def item(self) -> float:
        raise AssertionError("the device was waited for")

    def __str__(self) -> str:
        raise AssertionError("the device was waited for")


def test_a_tensor_on_a_gpu_is_left_out_and_counted_and_costs_no_other_field(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry], capfd: pytest.CaptureFixture[str]
) -> None:
    event = Emitted(Kind.EPOCH_COMPLETED, Payload({"val_loss": OnAGpu(), "env_id": 3}))

    line, loss = written(tmp_path, open_run, event)

    assert {"env_id": 3} == line["data"]
    assert ("unencodable", 1) == (loss["data"]["reason"], loss["data"]["count"])
    assert "EPOCH_COMPLETED" in capfd.readouterr().err


@pytest.mark.parametrize("event", [None, 7, "EPOCH_COMPLETED", Emitted])
def test_what_is_no_event_is_counted_and_ends_nothing(
    event: object, tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    lines = written(tmp_path, open_run, event, Emitted(Kind.EPOCH_COMPLETED))

    assert {"EPOCH_COMPLETED": 1, "TELEMETRY_LOSS": 1} == {
        kind: sum(line["event_type"] == kind for line in lines) for kind in ("EPOCH_COMPLETED", "TELEMETRY_LOSS")
    }


def test_a_hub_that_is_never_used_leaves_no_run(tmp_path: Path, open_run: Callable[[], runtime.Telemetry]) -> None:
    backend = EsperOtelOutput(open_run=open_run)
    backend.start()
    backend.close()

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("hub", [CountingHub(), JanuaryHub()])
def test_what_the_hub_dropped_before_is_told_once(
    hub: CountingHub, tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    backend = EsperOtelOutput(hub, open_run)
    backend.emit(Emitted(Kind.EPOCH_COMPLETED))
    hub.dropped, hub.backend_dropped = 3, 2
    backend.close()

    losses = [line["data"] for line in logged(tmp_path) if line["event_type"] == "TELEMETRY_LOSS"]
    assert [("hub_queue_full", 3), ("hub_queue_full", 2)] == [(loss["reason"], loss["count"]) for loss in losses]
    assert ["hub", "backend"] == [loss["detail"].split()[-3] for loss in losses]


def test_a_run_that_cannot_be_opened_is_said_once_and_costs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def refuse() -> runtime.Telemetry:
        raise ValueError("ESPER_OTEL_LINGER must be a number of seconds, not 'soon'")

    backend = EsperOtelOutput(open_run=refuse)
    backend.emit(Emitted(Kind.EPOCH_COMPLETED))
    backend.emit(Emitted(Kind.EPOCH_COMPLETED))
    backend.close()

    said = "esper-otel: this run is not recorded: ESPER_OTEL_LINGER must be a number of seconds, not 'soon'\n"
    assert said == capfd.readouterr().err


def test_a_hub_that_closes_after_a_good_end_finishes_the_run(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    written(tmp_path, open_run, Emitted(Kind.EPOCH_COMPLETED))

    assert ("finished", None) == outcome(tmp_path)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no batches"), ("failed", "ValueError: no batches")),
        (KeyboardInterrupt(), ("interrupted", "KeyboardInterrupt: ")),
        (SystemExit(1), ("failed", "SystemExit: 1")),
        (SystemExit(0), ("finished", None)),
    ],
)
def test_a_hub_that_closes_while_an_exception_is_on_its_way_ends_the_run_with_it(
    error: BaseException,
    expected: tuple[str, str | None],
    tmp_path: Path,
    open_run: Callable[[], runtime.Telemetry],
) -> None:
    backend = EsperOtelOutput(open_run=open_run)
    backend.emit(Emitted(Kind.EPOCH_COMPLETED))
    with pytest.raises(type(error)):
        try:
            raise error
        finally:
            backend.close()

    assert expected == outcome(tmp_path)


def test_a_training_that_failed_out_of_sight_fails_the_run(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    backend = EsperOtelOutput(open_run=open_run)
    backend.emit(Emitted(Kind.EPOCH_COMPLETED))
    backend.note_failure(RuntimeError("caught by the terminal view"))
    backend.close()

    assert ("failed", "RuntimeError: caught by the terminal view") == outcome(tmp_path)


def test_the_hub_s_queue_empties_faster_than_events_come(
    tmp_path: Path, open_run: Callable[[], runtime.Telemetry]
) -> None:
    lines = recorded("esper-lite-3env-3slot")
    events = [emitted(line) for line in lines]
    backend = EsperOtelOutput(open_run=open_run)
    backend.emit(events[0])
    slowest = 0.0
    for event in events[1:]:
        before = time.thread_time()
        backend.emit(event)
        slowest = max(slowest, time.thread_time() - before)
    backend.close()

    # 111 events within 50 ms were the most that 16 environments sent; a queue of 100 then lasts for ever below 0.5 ms
    assert slowest < 50e-3 / HUB_QUEUE
    assert len(lines) == len(logged(tmp_path))
