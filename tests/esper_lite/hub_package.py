"""A package with the names that the instrumentor looks for in esper-lite, for tests of how it attaches.

That the real esper-lite behaves so is for ``test_live.py`` to show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_OUTPUT: Final = """
class NissaHub:
    def __init__(self):
        self.backends = []

    def add_backend(self, backend):
        backend.start()
        self.backends.append(backend)

    def remove_backend(self, backend):
        self.backends.remove(backend)
        backend.close()

    def emit(self, event):
        for backend in self.backends:
            backend.emit(event)

    def close(self):
        for backend in self.backends:
            backend.close()

_global_hub = None

def get_hub():
    global _global_hub
    if _global_hub is None:
        _global_hub = NissaHub()
    return _global_hub
"""

_VECTORIZED: Final = """
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from esper.nissa.output import get_hub

@dataclass
class TelemetryEvent:
    event_type: str
    data: Any = None
    event_id: str = "id"
    timestamp: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

def train_ppo_vectorized(fails=False):
    get_hub().emit(TelemetryEvent("TRAINING_STARTED", {"n_envs": 2}))
    if fails:
        raise ValueError("no training batches")
"""


def make_package(directory: Path) -> None:
    """Write the package ``esper`` into ``directory``."""
    for name, text in {"nissa/output": _OUTPUT, "simic/training/vectorized": _VECTORIZED}.items():
        path = directory / "esper" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in ("", "nissa", "simic", "simic/training"):
        (directory / "esper" / folder / "__init__.py").touch()
