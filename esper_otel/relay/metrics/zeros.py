"""Counters that exist at 0 before the first event that they count.

A 0 says that somebody looked and found nothing, so that counters of a domain exist from its first event on: a program
that never uses it has none of them. What the sensors and the framework adapters send of any program begins its own
counters alone. Our trainer looks at everything from its start on. esper-lite is known to report what goes wrong; what
it reports regularly has begun with the first such event. What an event does not measure is counted from the first one
that does.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from esper_otel.esper_lite.dialect.recipes import legacy_types
from esper_otel.events import (
    EVENT_TYPES,
    AllocatorStats,
    AmpState,
    CheckpointLoaded,
    CheckpointSaved,
    CompilerStats,
    EpisodeOutcome,
    GradientStats,
    GraphBreak,
    InfrastructureSnapshot,
    PhaseDurations,
    PolicyUpdate,
    Recompilation,
    Scalar,
    Throughput,
    TrainingStarted,
    TrainingUpdate,
)
from esper_otel.events.declare import Domain, Event, Instrument, Severity
from esper_otel.signals.registry import SIGNALS, Signal

OF_ANY_PROGRAM: Final[frozenset[type[Event]]] = frozenset(
    {
        AllocatorStats,
        AmpState,
        CheckpointLoaded,
        CheckpointSaved,
        CompilerStats,
        EpisodeOutcome,
        GradientStats,
        GraphBreak,
        InfrastructureSnapshot,
        PhaseDurations,
        PolicyUpdate,
        Recompilation,
        Scalar,
        Throughput,
        TrainingUpdate,
    }
)
"""Events that sensors and framework adapters send: they do not show that the rest of their domain is looked at."""

NEVER_OF_ESPER_LITE: Final = frozenset({("DORMANT", "GERMINATED")})
"""Attribute values that no event of esper-lite bears: a seed's birth is SEED_GERMINATED alone."""

_GOES_WRONG: Final = frozenset({Severity.WARNING, Severity.ERROR, Severity.CRITICAL})


@cache
def that_begin_with(event: type[Event]) -> tuple[Signal, ...]:
    """Counters that the first event of a class begins, sent by a producer of ours."""
    if event is TrainingStarted:
        return SIGNALS
    if event in OF_ANY_PROGRAM or event.event_type not in EVENT_TYPES:  # a user's own is begun by its declaration
        return tuple(signal for signal in SIGNALS if signal.event is event and not signal.path)
    return tuple(signal for signal in SIGNALS if signal.domain == event.domain)


@cache
def that_begin_with_esper_lites(event: type[Event]) -> tuple[Signal, ...]:
    """Counters that the first event of a class begins, sent by esper-lite: its own, and those of what goes wrong."""
    if event.domain is Domain.ESPER:
        return that_begin_with(event)
    return tuple(
        signal
        for signal in SIGNALS
        if (signal.event is event and (not signal.path or signal.instrument is not Instrument.COUNTER))
        or (not signal.path and signal.event in legacy_types() and signal.event.severity in _GOES_WRONG)
    )
