"""Rules: events that begin a round, and events that make a round anomalous."""

from __future__ import annotations

import math
from typing import Final

from esper_otel.events import (
    BatchCompleted,
    CounterfactualMatrix,
    Decision,
    DegradationDetected,
    EpisodeOutcome,
    EpochCompleted,
    Event,
    HeuristicEpisode,
    MemoryWarning,
    MorphologyCausalLog,
    PerformanceDegradation,
    PhaseProfile,
    PolicyUpdate,
    RewardComputed,
    RewardHackingSuspected,
    Rollback,
    RoundStarted,
    SeedFossilized,
    SeedGateEvaluated,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
    Severity,
    UpdateSkipped,
)
from esper_otel.events.anomalies import Anomaly
from esper_otel.events.policy_optimisation import GRAD_NORM_THRESHOLD
from esper_otel.relay.traces.state import Lane

OPENERS: Final = frozenset(
    {
        BatchCompleted,
        CounterfactualMatrix,
        Decision,
        EpisodeOutcome,
        EpochCompleted,
        HeuristicEpisode,
        MorphologyCausalLog,
        PhaseProfile,
        RewardComputed,
        Rollback,
        RoundStarted,
        SeedFossilized,
        SeedGateEvaluated,
        SeedGerminated,
        SeedPruned,
        SeedStageChanged,
    }
)
"""Events that only happen within a round: the first one after a batch has completed opens the next round."""


def opens_round(lane: Lane, event: Event) -> bool:
    """Return True if the event can only lie in the round that follows the last completed one."""
    if type(event) in OPENERS:
        return True
    if isinstance(event, Anomaly):
        return event.batch is not None and event.batch > lane.completed
    return isinstance(event, (PolicyUpdate, UpdateSkipped)) and (event.batch is None or event.batch > lane.completed)


_ALARMING: Final = (
    DegradationDetected,
    MemoryWarning,
    PerformanceDegradation,
    RewardHackingSuspected,
    Rollback,
    UpdateSkipped,
)
"""Events that make a round anomalous by their mere existence."""

_HARMLESS: Final = frozenset(OPENERS - set(_ALARMING))
"""Events that never do: most of a log, told apart by one look."""


def anomaly_name(event: Event) -> str | None:
    """Name of what makes the round of this event anomalous, None for a healthy event."""
    if type(event) in _HARMLESS:
        return None
    if isinstance(event, Anomaly):
        return f"{event.otel_name}: {event.anomaly_type}" if event.anomaly_type else event.otel_name
    if isinstance(event, PolicyUpdate):
        norm = event.pre_clip_grad_norm
        if norm is None or (math.isfinite(norm) and GRAD_NORM_THRESHOLD.severity_of(norm) is not Severity.CRITICAL):
            return None
        return f"tamiyo.pre_clip_grad_norm is {norm:.6g}"
    return event.otel_name if isinstance(event, _ALARMING) else None
