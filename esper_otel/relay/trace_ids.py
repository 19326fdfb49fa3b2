"""Trace and span ids, derived so that every rank and every log line can name a round's trace without communication.

Nothing here keeps state: the same run, group, round and entity always give the same id, also after a restart.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8

MAX_KNOWN: Final = 4_096
"""Ids that are remembered: an event names its round and its episode, and so do the thousands after it."""


@lru_cache(MAX_KNOWN)
def round_trace_id(run_id: str, group: str, round_index: int) -> int:
    """Id of the trace of one round, 128 bits, never 0.

    Args:
        run_id: the run; a producer that starts training again under one run id must pass a distinct one for each start.
        group: the A/B group of the round.
        round_index: number of the round, from 1.
    """
    return _digest(TRACE_ID_BYTES, "round", run_id, group, str(round_index))


@lru_cache(MAX_KNOWN)
def run_trace_id(run_id: str, group: str) -> int:
    """Id of the short trace that marks the start (and the end) of a run, 128 bits, never 0."""
    return _digest(TRACE_ID_BYTES, "run", run_id, group)


@lru_cache(MAX_KNOWN)
def span_id(trace_id: int, kind: str, *key: str | int) -> int:
    """Id of a span within its trace, 64 bits, never 0; ``key`` tells spans of one kind apart."""
    return _digest(SPAN_ID_BYTES, f"{trace_id:032x}", kind, *(str(part) for part in key))


@lru_cache(MAX_KNOWN)
def child_ref(run_id: str, group: str, round_index: int, kind: str, *key: str | int) -> tuple[int, int]:
    """:func:`round_trace_id` and :func:`span_id` of a span within that round."""
    trace_id = round_trace_id(run_id, group, round_index)
    return trace_id, span_id(trace_id, kind, *key)


def _digest(size: int, *parts: str) -> int:
    # Each part carries its length, so that ("ab", "c") and ("a", "bc") differ.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
    # The all-zero id means "no trace" in OpenTelemetry.
    return int.from_bytes(digest, "big") or 1
