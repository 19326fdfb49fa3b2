"""The table that proves the plan's fields: every one has an event in the contract and a test of its formula."""

import json

import pytest

from tests.trainer import field_table

FIELDS = [name for names in field_table.PLAN.values() for name in names]


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_the_plan_is_in_the_contract_and_has_a_test_of_its_formula(name):
    carriers = list(field_table.carriers(name))

    assert carriers
    assert all(field_table.formula_test(field) for _, field in carriers)


@pytest.mark.parametrize(
    ("expected", "name", "values"),
    [
        (("", True), "return_mean", [1.0, 2.0]),
        (("constant: NO REASON", False), "return_mean", [1.0, 1.0]),
        (("absent: NO REASON", False), "return_mean", []),
    ],
)
def test_a_field_that_never_changes_or_is_missing_needs_a_reason(expected, name, values):
    assert expected == field_table.verdict(name, values)


def test_a_constant_field_with_a_reason_says_it():
    remark, is_fine = field_table.verdict("host_lr", [0.01, 0.01])

    assert is_fine
    assert remark.startswith("constant: ")
    assert "schedule" in remark


def test_the_values_of_a_log_are_found_by_event_and_field(tmp_path):
    record = {
        "event_type": "TOLARIA_EPOCH_COMPLETED",
        "timestamp": "2026-11-22T19:40:00.123456+00:00",
        "event_id": "x-0-1",
        "run_id": "x",
        "rank": 0,
        "seq": 1,
        "data": {"host_lr": 0.01},
    }
    log = tmp_path / "events.jsonl"
    log.write_text(json.dumps(record) + "\n")

    assert {("TOLARIA_EPOCH_COMPLETED", "host_lr"): [0.01]} == field_table.values_of([str(log)])
