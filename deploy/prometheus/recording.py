"""The recording rules as groups of Prometheus."""

from typing import Any

from esper_otel.alerts.recording import RECORDING


def groups() -> list[dict[str, Any]]:
    """The recording rules as groups of Prometheus."""
    return [
        {
            "name": "esper-recording",
            "rules": [{"record": name, "expr": expr} for name, expr in RECORDING.items()],
        }
    ]
