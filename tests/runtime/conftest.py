"""Runs of a test's own process: unconfigured before and after, without anybody's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import esper_otel


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("ESPER_OTEL_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ESPER_OTEL_RELAY", "0")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    yield
    esper_otel.shutdown()
