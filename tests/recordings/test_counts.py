"""Real runs of esper-lite: what the relay serves is what DuckDB counts in the raw lines, and no line is missing."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest

from tests.recorded import RECORDINGS, recording
from tests.recordings.conftest import Run
from tests.recordings.sql_counts import COUNTERS, GAUGES, UPDATE, measured, number


def asked(run: Run, sql: str, *, with_zeros: bool = False) -> dict[tuple[str, ...], float]:
    """Labels and number of each row; an absent label is the empty text, as in Prometheus."""
    rows: list[tuple[Any, ...]] = run.lines.execute(sql).fetchall()
    numbers = {tuple(label or "" for label in row[:-1]): float(row[-1] or 0.0) for row in rows}
    return {labels: value for labels, value in numbers.items() if value or with_zeros}


@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter_equals_the_count_over_the_raw_lines(run: Run, name: str) -> None:
    labels, sql = COUNTERS[name]
    served = {key: value for key, value in run.served.values(name, *labels).items() if value}

    assert pytest.approx(asked(run, sql)) == served


@pytest.mark.parametrize("name", GAUGES)
def test_a_gauge_holds_the_last_value_of_the_raw_lines(run: Run, name: str) -> None:
    labels, sql = GAUGES[name]

    assert pytest.approx(asked(run, sql, with_zeros=True)) == run.served.values(name, *labels)


@pytest.mark.parametrize(
    ("histogram", "field"), [("tamiyo_pre_clip_grad_norm", "pre_clip_grad_norm"), ("tamiyo_update_kl", "kl_divergence")]
)
def test_every_bucket_holds_the_updates_up_to_its_bound(run: Run, histogram: str, field: str) -> None:
    served = run.served.values(f"{histogram}_bucket", "le")
    value = number(field)
    expected = {
        (le,): asked(
            run, f"SELECT count(*) FROM line WHERE {UPDATE} AND {value} <= {float(le)!r}::DOUBLE", with_zeros=True
        )[()]
        for (le,) in served
        if le != "+Inf"
    }
    expected[("+Inf",)] = asked(run, measured(UPDATE, field), with_zeros=True)[()]

    assert len(expected) > 10
    assert expected == served


def test_every_line_is_read_and_projected(run: Run) -> None:
    with gzip.open(run.path, "rb") as lines:
        expected = sum(1 for _ in lines)

    assert expected == run.served.total("esper_telemetry_records_total")
    assert run.served.values("esper_telemetry_rejected_records_total", "reason") == {}


def test_every_field_is_known_and_fits(run: Run) -> None:
    assert run.served.values("esper_telemetry_unknown_fields_total", "event_type") == {}
    assert run.served.values("esper_telemetry_mistyped_fields_total", "event_type") == {}


def test_no_attribute_value_is_folded(run: Run) -> None:
    assert run.served.values("esper_telemetry_folded_values_total", "field") == {}


def test_every_non_finite_number_of_the_text_is_counted(run: Run) -> None:
    with gzip.open(run.path, "rt") as lines:
        expected = len(re.findall(r"[\[:,] (?:NaN|-?Infinity)[,\]}]", lines.read()))

    assert expected == run.served.total("esper_telemetry_nonfinite_total")


def test_nothing_that_is_not_finite_is_served(run: Run) -> None:
    assert not [line for line in run.served.text.splitlines() if line.endswith(("NaN", "Inf"))]


def test_the_recordings_exercise_what_is_counted() -> None:
    text = b"".join(gzip.decompress(recording(name).read_bytes()) for name in RECORDINGS)

    assert b'"loss_at_panic": NaN' in text
    assert b"SEED_PRUNED" in text
    assert b"GOVERNOR_ROLLBACK" in text
