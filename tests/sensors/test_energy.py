"""Joules per policy update."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.relay.gpu.energy import EnergyLedger


def test_an_update_gets_the_energy_since_the_update_before_it() -> None:
    ledger = EnergyLedger()
    ledger.note_energy(0.0, {"cuda:0": 100.0})
    ledger.note_update(1.0)
    ledger.note_energy(2.0, {"cuda:0": 300.0})
    ledger.note_update(2.5)
    ledger.note_energy(3.0, {"cuda:0": 350.0})

    assert ledger.per_update == {"cuda:0": pytest.approx(125.0)}
    assert ledger.attributed == {"cuda:0": pytest.approx(125.0)}


def test_the_first_update_has_no_beginning() -> None:
    ledger = EnergyLedger()
    ledger.note_energy(0.0, {"cuda:0": 100.0})
    ledger.note_update(1.0)
    ledger.note_energy(2.0, {"cuda:0": 300.0})

    assert ledger.per_update == {}


def test_an_update_before_the_first_sample_is_left_out() -> None:
    ledger = EnergyLedger()
    ledger.note_update(1.0)
    ledger.note_energy(2.0, {"cuda:0": 300.0})
    ledger.note_update(3.0)
    ledger.note_energy(4.0, {"cuda:0": 400.0})

    assert ledger.per_update == {}


def test_energy_that_falls_counts_for_nothing_and_the_next_update_is_right() -> None:
    ledger = EnergyLedger()
    for at, joules in ((0.0, 100.0), (1.0, 200.0)):
        ledger.note_energy(at, {"cuda:0": joules})
    ledger.note_update(1.5)
    ledger.note_energy(2.0, {"cuda:0": 5.0})
    ledger.note_update(2.5)
    ledger.note_energy(3.0, {"cuda:0": 15.0})
    ledger.note_update(3.5)
    ledger.note_energy(4.0, {"cuda:0": 25.0})

    assert ledger.per_update == {"cuda:0": pytest.approx(10.0)}


@given(
    st.lists(st.floats(0.01, 5.0), min_size=2, max_size=30),
    st.lists(st.floats(0.01, 3.0), min_size=2, max_size=30),
)
def test_at_constant_power_each_updates_energy_is_power_times_its_length(
    sample_gaps: list[float], update_gaps: list[float]
) -> None:
    ledger = EnergyLedger()
    happenings: list[tuple[float, str]] = [(0.0, "sample")]
    for gaps, kind in ((sample_gaps, "sample"), (update_gaps, "update")):
        at = 0.0
        for gap in gaps:
            at += gap
            happenings.append((at, kind))
    happenings.append((max(at for at, _ in happenings) + 1.0, "sample"))
    for at, kind in sorted(happenings):
        if kind == "sample":
            ledger.note_energy(at, {"cuda:0": 400.0 * at})
        else:
            ledger.note_update(at)
    updates = [at for at, kind in sorted(happenings) if kind == "update"]

    assert ledger.attributed["cuda:0"] == pytest.approx(400.0 * (updates[-1] - updates[0]), rel=1e-6)
    assert ledger.per_update["cuda:0"] == pytest.approx(400.0 * (updates[-1] - updates[-2]), rel=1e-6, abs=1e-6)
