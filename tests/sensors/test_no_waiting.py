"""No sensor contains a call that waits for the device."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import esper_otel.sensors

SOURCES = sorted(Path(esper_otel.sensors.__file__).parent.glob("*.py"))
WAITING = {"synchronize", "item", "cpu", "numpy", "get_scale", "wait", "nonzero", "is_nonzero", "equal", "isnan"}
"""Methods that copy from the device and wait for it, or wait for it alone."""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_sensor_calls_what_waits_for_the_device(source: Path) -> None:
    calls = [
        f"{source.name}:{node.lineno} {node.func.attr}()"
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITING
    ]

    assert calls == []


def test_the_sources_were_found() -> None:
    assert {"timing.py", "gradients.py", "amp.py"} <= {path.name for path in SOURCES}
