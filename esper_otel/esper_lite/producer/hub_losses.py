"""Events that esper-lite's hub dropped before a backend could see them, from the hub's own counters."""

from __future__ import annotations

from typing import Any


def lost_before(hub: Any, backend_name: str) -> dict[str, int]:
    """Events dropped so far, by the queue that was full: ``hub`` (all backends) and ``backend`` (this one).

    A counter that this version of the hub does not have is absent, which is not 0.

    Args:
        hub: esper-lite's hub.
        backend_name: name of the backend's class, by which the hub knows its queue.
    """
    found: dict[str, int] = {}
    snapshot = getattr(hub, "get_health_snapshot", None)
    # versions before 2026-02 count it as well, but say it nowhere
    whole = snapshot().get("hub_dropped_events") if snapshot is not None else getattr(hub, "_dropped_events", None)
    if isinstance(whole, int):
        found["hub"] = whole
    stats = getattr(hub, "get_backend_stats", None)
    own = stats().get(backend_name, {}).get("dropped_events") if stats is not None else None
    if isinstance(own, int):
        found["backend"] = own
    return found
