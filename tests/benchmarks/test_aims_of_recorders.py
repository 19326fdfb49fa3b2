"""The aims of recorders are judged by the figures, with the noise beside them."""

from __future__ import annotations

from typing import Any

from benchmarks.recording.aims import NOTHING, OURS, report
from benchmarks.recording.roads import ALONE


def steps(ratio: float, *, p999_ms: float = 5.0) -> list[dict[str, Any]]:
    row = {"payload": "decision", "rate": 10_000, "road": OURS, "ratio": ratio, "low": ratio - 0.001}
    row |= {"high": ratio + 0.001, "quads": 30, "left_out": 4, "p999_without_ms": 4.8, "p999_ms": p999_ms}
    return [row, row | {"road": NOTHING, "ratio": 1.0, "low": 0.999, "high": 1.001, "p999_ms": 4.9}]


def lock(ours_us: float) -> list[dict[str, Any]]:
    costs = {ALONE: 10.0, "emit(), in Python": 20.0, OURS: ours_us}
    rest = {"low": 9.0, "high": 11.0, "call_us": 3.0}
    return [
        {"payload": payload, "road": road, "lost_us": lost_us, **rest}
        for payload in ("decision", "policy update")
        for road, lost_us in costs.items()
    ]


def clock(ours_us: float) -> list[dict[str, Any]]:
    return [{"payload": "decision", "road": road, "1": ours_us, "4": ours_us, "40": ours_us} for road in (ALONE, OURS)]


def test_figures_within_every_aim_reach_all_of_them() -> None:
    text = report({"steps": steps(1.005), "clock": clock(12.0), "lock": lock(10.4)})

    assert 7 == text.count("Reached.")
    assert "Not reached" not in text
    assert "decision: 0.40 µs with the lock above the numbers alone, 10.00 by emit() in Python" in text


def test_figures_beyond_every_aim_reach_none() -> None:
    text = report({"steps": steps(1.02, p999_ms=5.4), "clock": clock(60.0), "lock": lock(12.0)})

    assert 7 == text.count("**Not reached.**")
    assert "Reached." not in text


def test_an_aim_within_the_interval_is_said_to_be_so() -> None:
    assert "1.010; aim: below 1.01. Reached. The interval holds the aim." in report({"steps": steps(1.0099)})


def test_the_noise_of_the_machine_stands_beside_the_aims() -> None:
    assert "noise (A/A, decision): 0.9990 to 1.0010, p99.9 +0.10 ms" in report({"steps": steps(1.005)})
