"""Any event of the contract that our log writer writes comes back in its view with the same values."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esper_otel.esper_lite.dialect.legacy import LegacyWriter
from esper_otel.events import EVENT_TYPES, Event, MorphologyCausalLog, TrainingStarted
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.sql import VIEWS, connect
from esper_otel.sql.views.view import view_name
from tests.log.arbitrary_events import as_json, events

INT64 = range(-(2**63), 2**63)
HUGE = range(-(2**127), 2**127)


def written(directory: Path, made: list[Event]) -> Path:
    """A log of the events, a line each, as the writer encodes them."""
    encoder = LineEncoder("run", 0)
    lines = [
        encoder.encode(event, Envelope(1_700_000_000_000_000_000, "default", None, None, number))[0]
        for number, event in enumerate(made, 1)
    ]
    (directory / "events.jsonl").write_bytes(b"".join(lines))
    return directory


def shown(value: Any, type_: str) -> Any:
    """What a column of ``type_`` must show for a value that was emitted; integers beyond it are not shown."""
    if value is None or type_ == "JSON":
        return None if value is None else as_json(value)
    if isinstance(value, msgspec.Struct):
        return {name: shown(getattr(value, name), "") for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: shown(inner, "") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shown(inner, "") for inner in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value in (HUGE if type_ == "HUGEINT" else INT64) else None
    return comparable(value)


def comparable(value: Any) -> Any:
    """NaN equals NaN, and -0.0 is not 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1.0, value))
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items()}
    return [comparable(inner) for inner in value] if isinstance(value, list | tuple) else value


def row_of(connection: duckdb.DuckDBPyConnection, event: Event, seq: int) -> dict[str, Any]:
    """The one row of an event, by the columns of its fields."""
    fields = {column.name: column.type for column in VIEWS[view_name(type(event))].columns}
    chosen = [name for name in event.__struct_fields__ if name in fields]
    listed = ", ".join(f'"{name}"' for name in chosen)
    found = connection.execute(
        f"SELECT {listed} FROM {view_name(type(event))} WHERE event_id = 'run-0-{seq}'"
    ).fetchall()
    assert len(found) == 1
    return {
        name: value if value is None or fields[name] != "JSON" else json.loads(value)
        for name, value in zip(chosen, found[0], strict=True)
    }


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.lists(events(), min_size=1, max_size=40))
def test_any_event_comes_back_in_its_view(made: list[Event]) -> None:
    with TemporaryDirectory() as directory, connect(written(Path(directory), made)) as connection:
        for seq, event in enumerate(made, 1):
            columns = {column.name: column.type for column in VIEWS[view_name(type(event))].columns}
            expected = {name: shown(getattr(event, name), columns[name]) for name in event.__struct_fields__}
            row = row_of(connection, event, seq)
            assert expected == {
                name: value if columns[name] == "JSON" else comparable(value) for name, value in row.items()
            }


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**64 + 1, -(2**100)])
def test_seeds_of_random_streams_are_exact_beyond_64_bit(number: int, tmp_path: Path) -> None:
    log = written(tmp_path, [TrainingStarted(seed=number), MorphologyCausalLog(rng_seed=number)])

    with connect(log) as connection:
        assert [(number,)] == connection.execute("SELECT seed FROM runs").fetchall()
        assert [(number,)] == connection.execute("SELECT rng_seed FROM morphology_causal_log").fetchall()


def test_a_number_that_no_column_holds_leaves_the_other_values_of_its_event(tmp_path: Path) -> None:
    log = written(tmp_path, [TrainingStarted(n_envs=2**64, max_epochs=3, task="digits"), TrainingStarted(n_envs=4)])

    with connect(log) as connection:
        query = "SELECT n_envs, max_epochs, task FROM runs ORDER BY seq"
        assert [(None, 3, "digits"), (4, None, None)] == connection.execute(query).fetchall()
        raw = connection.execute("SELECT data FROM raw_events WHERE seq = 1").fetchall()
        assert 2**64 == json.loads(raw[0][0])["n_envs"]


@pytest.mark.parametrize("cls", EVENT_TYPES.values(), ids=lambda cls: cls.event_type)
def test_every_event_type_has_a_view_with_a_column_for_each_field(cls: type[Event]) -> None:
    assert set(cls.__struct_fields__) <= {column.name for column in VIEWS[view_name(cls)].columns}


def test_both_names_of_an_event_in_one_log_are_one_row(tmp_path: Path) -> None:
    encoder, both = LineEncoder("run", 0), LegacyWriter("domains/dup")
    made = [cls() for name, cls in EVENT_TYPES.items() if name in ("TAMIYO_POLICY_UPDATE", "TOLARIA_EPOCH_COMPLETED")]
    lines = [
        encoder.encode(event, Envelope(10**18, "A", None, None, seq), event_type=name, payload=payload)[0]
        for seq, event in enumerate(made, 1)
        for name, payload in both.lines(event)
    ]
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))

    assert 4 == len(lines)
    with connect(tmp_path) as connection:
        for view in ("tamiyo_updates", "ppo_updates", "tolaria_epochs", "epochs"):
            assert [(1,)] == connection.execute(f"SELECT count(*) FROM {view}").fetchall()
