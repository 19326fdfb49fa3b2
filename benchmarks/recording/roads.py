"""The roads that an event can take into the log: emit() or a recorder, in C or in Python."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import esper_otel
from benchmarks.alternatives.payloads import Numbers, Payload
from esper_otel.native import loading

Act = Callable[[Numbers], object]


def _nothing(_: Payload) -> Act:
    return lambda numbers: None


def _bring(payload: Payload) -> Act:
    """Bring the numbers together by keyword, as any way must, for a call that does nothing with them."""
    return payload.calls("".format)


def _emit(payload: Payload) -> Act:
    emit, build = esper_otel.emit, payload.build
    return lambda numbers: emit(build(numbers))


def _recorder(payload: Payload) -> Act:
    return payload.calls(esper_otel.recorder(type(payload.build(payload.pool[0]))))


ALONE: Final = "the numbers alone"
ROADS: Final[dict[str, tuple[str, Callable[[Payload], Act]]]] = {
    "nothing (A/A)": ("1", _nothing),
    ALONE: ("1", _bring),
    "emit(), in Python": ("0", _emit),
    "recorder, in Python": ("0", _recorder),
    "emit(), native": ("1", _emit),
    "recorder, native": ("1", _recorder),
}


@contextmanager
def opened(road: str, payload: Payload) -> Iterator[Act]:
    """A run without a relay, and what records one event on ``road``."""
    native, make = ROADS[road]
    os.environ[loading.VARIABLE] = native
    loading._loaded.cache_clear()
    with tempfile.TemporaryDirectory() as directory:
        telemetry = esper_otel.configure(telemetry_dir=Path(directory), relay=False)
        act = make(payload)
        for numbers in payload.pool[:50]:
            act(numbers)  # plans are made
        _settle(telemetry)
        try:
            yield act
            _settle(telemetry)
            lost = [name for name in telemetry.counters if name.startswith("dropped")]
            assert not lost, f"{road}: {lost}"
        finally:
            esper_otel.shutdown()


def _settle(telemetry: esper_otel.Telemetry) -> None:
    while telemetry.counters["written"] < telemetry.counters["emitted"]:
        time.sleep(0.01)
    time.sleep(0.05)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows in Markdown."""
    cells = [[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
