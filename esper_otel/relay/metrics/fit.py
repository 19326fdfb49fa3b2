"""Check that a stored metric state fits the metrics that this version declares.

A state of another version may name other metrics, or the same ones with other attributes or buckets. To go on with it
would mix numbers that do not belong together, so it is dropped and made again from the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from esper_otel.signals import custom, own
from esper_otel.signals.registry import SIGNALS, Signal


class MisfitError(ValueError):
    """A stored state does not fit; the message names the metric."""


def fingerprints(state: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprints of all metrics in a snapshot of the metric state, to be stored with it."""
    return {name: _fingerprint(name) for name in sorted(set(_names(state))) if _known(name) is not None}


def require_fit(state: Mapping[str, Any], stored: Mapping[str, str]) -> None:
    """Return when every metric in ``state`` is declared now as it was when its fingerprint was ``stored``.

    Raises:
        MisfitError: one is not.
        KeyError, TypeError, ValueError, AttributeError: it is no such state.
    """
    for name in set(_names(state)):
        if _known(name) is None:
            raise MisfitError(f"{name} is not known to this version")
        if stored.get(name) != _fingerprint(name):
            raise MisfitError(f"{name} is declared otherwise in this version")
    sums, last = state["sums"], state["last"]
    for part in (*(sums[kind] for kind in _SUMS), last["held"], state["own"]):
        for name, points in part.items():
            for values, point in points:
                _require_shape(name, values, point)


_SUMS: Final = ("counters", "totals", "histograms", "maxima")


def _names(state: Mapping[str, Any]) -> Iterable[str]:
    for part in (*(state["sums"][kind] for kind in _SUMS), state["last"]["held"], state["own"]):
        yield from part


def _require_shape(name: str, values: Any, point: Any) -> None:
    signal = _known(name)
    assert signal is not None
    if len(values) != len(signal.attributes):
        raise MisfitError(f"{name} has {len(signal.attributes)} attributes, not {len(values)}")
    buckets = len(signal.bounds) + 1 if isinstance(signal, Signal) else 1
    if isinstance(point, dict) and len(point.get("counts", ())) not in {0, buckets}:
        raise MisfitError(f"{name} has {buckets} buckets, not {len(point['counts'])}")


def _fingerprint(name: str) -> str:
    """Digest of what decides the meaning of a metric's stored points: kind, unit, attributes, bounds."""
    signal = _known(name)
    assert signal is not None
    return _digest(signal)


@lru_cache(4096)
def _digest(signal: Signal | own.OwnSignal) -> str:
    if isinstance(signal, Signal):
        text = repr((signal.instrument.value, signal.unit, signal.attributes, signal.bounds))
    else:
        text = repr((signal.instrument, signal.unit, signal.attributes))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _known(name: str) -> Signal | own.OwnSignal | None:
    return _SIGNALS.get(name) or _OWN.get(name) or custom.named(name)


_SIGNALS: Final = {signal.name: signal for signal in SIGNALS}
_OWN: Final = {signal.name: signal for signal in own.OWN_SIGNALS}
