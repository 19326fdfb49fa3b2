"""OpenTelemetry instrumentor: ``opentelemetry-instrument python train.py`` records any PyTorch training."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not annotated

from esper_otel.automatic.door import listen


class PyTorchInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # nor is its base
    """Installs the hooks of :func:`esper_otel.autolog` as soon as the program imports torch.

    No OpenTelemetry work happens in the process: its events go to the log of a run, which the relay exports. The hooks
    cannot be taken out of a running process; ``ESPER_OTEL_AUTOLOG=0`` keeps them out of one that starts.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return none: a program without torch is left as it is."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        listen()

    def _uninstrument(self, **kwargs: Any) -> None:
        """Leave the hooks where they are."""
