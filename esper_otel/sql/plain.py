"""Values of query results as JSON types."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any


def plain(value: Any) -> Any:
    """``value`` as JSON types: times as ISO 8601 in UTC, non-finite numbers by name, as in the log."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _nonfinite(value)
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, int | str | None) else str(value)


def _nonfinite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
