"""No sensor contains a call that waits for the device."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import esper_otel.automatic
import esper_otel.sensors

ROOMS = (Path(esper_otel.sensors.__file__).parent, Path(esper_otel.automatic.__file__).parent)
SOURCES = sorted(path for room in ROOMS for path in room.rglob("*.py"))
WAITING = {"synchronize", "item", "cpu", "numpy", "get_scale", "wait", "nonzero", "is_nonzero", "equal", "isnan"}
"""Methods that copy from the device and wait for it, or wait for it alone."""

OF_TIME = {("pulse.py", "wait")}
"""Waits for time in a thread of our own, which touches no device."""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_sensor_calls_what_waits_for_the_device(source: Path) -> None:
    calls = [
        f"{source.name}:{node.lineno} {node.func.attr}()"
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITING
        if (source.name, node.func.attr) not in OF_TIME
    ]

    assert calls == []


def test_the_sources_were_found() -> None:
    assert {"timing.py", "gradients.py", "amp.py", "funnel.py", "recorder.py"} <= {path.name for path in SOURCES}
