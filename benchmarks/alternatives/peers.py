"""Others that record what a training process does: probing's tables, and NeMo Lens' spans.

TraceML and torchtel time a loop's phases and have no call that takes an event; :mod:`benchmarks.autolog` has them.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from benchmarks.alternatives.payloads import Numbers, Payload
from benchmarks.alternatives.way import Record, UnavailableError


class Probing:
    """A row in a table in the process's memory, which its SQL reads; a kill takes all of them."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Import it, which serves on a socket of its own."""
        try:
            import probing
        except ImportError as error:
            raise UnavailableError(f"pip install --target DIR probing; PYTHONPATH=DIR ({error})") from None
        self._make: Any = probing.ExternalTable
        self._tables = itertools.count()

    def recorder(self, payload: Payload) -> Record:
        """Append a row."""
        columns = [name.replace(".", "_") for name in (*payload.texts, *payload.names)]
        append = self._make(f"{payload.name}_{next(self._tables)}".replace(" ", "_"), columns).append
        texts = tuple(payload.texts.values())
        return lambda numbers: append((*texts, *numbers))

    def settle(self) -> None:
        """Nothing waits."""

    def lost(self) -> int:
        """None that it reports."""
        return 0

    def close(self) -> None:
        """Nothing: its tables are the process's."""


class NemoLens:
    """A span that holds the numbers as attributes, sent by OpenTelemetry's batches; set up once for a process."""

    _is_set_up = False

    def open(self, directory: Path, endpoint: str) -> None:
        """Set it up as for the only rank."""
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        try:
            from nemo.lens import NemoLensConfig, setup_telemetry, span_cm
        except (ImportError, SyntaxError) as error:
            raise UnavailableError(f"Python 3.13 and pip install 'nemo-lens[sdk]' ({error})") from None
        if not NemoLens._is_set_up:
            setup_telemetry(NemoLensConfig(enabled=True, metrics_enabled=False), 0, 1)
            NemoLens._is_set_up = True
        self._span: Any = span_cm

    def recorder(self, payload: Payload) -> Record:
        """Open a span with the numbers and end it."""
        span, names, texts, event = self._span, payload.names, payload.texts, payload.name

        def record(numbers: Numbers) -> None:
            with span(event, **texts, **dict(zip(names, numbers, strict=True))):
                pass

        return record

    def settle(self) -> None:
        """Nothing that could be awaited."""

    def lost(self) -> int:
        """None that it reports: spans that its queue has no room for are dropped with a line on the console."""
        return 0

    def close(self) -> None:
        """Nothing: its provider is the process's."""
