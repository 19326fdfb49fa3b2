"""Anomalies and trends found by Simic's detectors.

Thresholds belong to the detectors in the trainer; an event carries the numbers that made one fire.
"""

from typing import Annotated, Any

from esper_otel.events.declare import Domain, Event, Severity, counter, declares, gauge, note
from esper_otel.events.types import Real, Text, Whole


def _trend(metric: str, what: str) -> tuple[Any, ...]:
    return (counter(metric, unit="{detection}", description=f"Times that {what} was detected."),)


class Trend(Event, frozen=True, kw_only=True):
    """Fields of every trend event."""

    batch_idx: Annotated[Whole, note("Batch in which the trend was noticed, from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None
    rolling_delta: Annotated[Real, note("Change of the rolling accuracy, percentage points.")] = None
    rolling_avg_accuracy: Annotated[Real, note("Rolling accuracy now, 0 to 100.")] = None
    prev_rolling_avg_accuracy: Annotated[Real, note("Rolling accuracy one batch earlier, 0 to 100.")] = None


@declares("PLATEAU_DETECTED", domain=Domain.SIMIC, metrics=_trend("simic.plateaus", "a plateau"))
class PlateauDetected(Trend, frozen=True, kw_only=True):
    """Accuracy no longer changes."""


@declares(
    "DEGRADATION_DETECTED",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.degradations", "a degradation"),
)
class DegradationDetected(Trend, frozen=True, kw_only=True):
    """Accuracy falls from batch to batch."""


@declares("IMPROVEMENT_DETECTED", domain=Domain.SIMIC, metrics=_trend("simic.improvements", "an improvement"))
class ImprovementDetected(Trend, frozen=True, kw_only=True):
    """Accuracy rises from batch to batch."""


class Anomaly(Event, frozen=True, kw_only=True):
    """Fields of every anomaly event."""

    anomaly_type: Annotated[Text, note("Precise name of the anomaly, finer than the event.")] = None
    episode: Annotated[Whole, note("Episodes finished when it was found.")] = None
    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode.")] = None
    total_episodes: Annotated[Whole, note("Episodes planned.")] = None
    value: Annotated[Real, note("Measured value that fired.")] = None
    threshold: Annotated[Real, note("Limit that it crossed.")] = None
    detail: Annotated[Text, note("Measured numbers as text.")] = None
    gradient_stats: Annotated[tuple[dict[str, Any], ...] | None, note("Statistics of up to 5 layers.")] = None
    stability: Annotated[dict[str, Any] | None, note("Numerical stability report.")] = None
    ratio_diagnostic: Annotated[dict[str, Any] | None, note("The worst probability ratios.")] = None


@declares(
    "GRADIENT_ANOMALY",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.gradient_anomalies", "a gradient or entropy anomaly"),
)
class GradientAnomaly(Anomaly, frozen=True, kw_only=True):
    """Gradients, entropy or KL look wrong in a way that has no event of its own."""


@declares(
    "GRADIENT_PATHOLOGY_DETECTED",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.gradient_pathologies", "a drift of gradient norm or health"),
)
class GradientPathology(Anomaly, frozen=True, kw_only=True):
    """Gradient norm or health drifted from its running mean."""


@declares(
    "RATIO_EXPLOSION_DETECTED",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.ratio_explosions", "an exploding probability ratio"),
)
class RatioExplosion(Anomaly, frozen=True, kw_only=True):
    """A probability ratio is far above 1."""


@declares(
    "RATIO_COLLAPSE_DETECTED",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.ratio_collapses", "a collapsing probability ratio"),
)
class RatioCollapse(Anomaly, frozen=True, kw_only=True):
    """A probability ratio is close to 0."""


@declares(
    "VALUE_COLLAPSE_DETECTED",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.value_collapses", "a failing critic"),
)
class ValueCollapse(Anomaly, frozen=True, kw_only=True):
    """The critic fails: its loss or Bellman error is far too large."""


@declares(
    "NUMERICAL_INSTABILITY_DETECTED",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.numerical_instabilities", "NaN or infinity"),
)
class NumericalInstability(Anomaly, frozen=True, kw_only=True):
    """NaN or infinity turned up."""


@declares(
    "PERFORMANCE_DEGRADATION",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.performance_degradations", "a relative drop of accuracy"),
)
class PerformanceDegradation(Event, frozen=True, kw_only=True):
    """Accuracy of a batch is far below the rolling mean."""

    env_id: Annotated[Whole, note("Environment; the value is a mean over all of them.")] = None
    current_acc: Annotated[Real, note("Mean accuracy of the batch, 0 to 100.")] = None
    rolling_avg_acc: Annotated[Real, note("Rolling accuracy it is compared with, 0 to 100.")] = None
    drop_percent: Annotated[Real, note("Relative drop, 0 to 100.", gauge("simic.accuracy_drop"))] = None
    threshold_percent: Annotated[Real, note("Drop that fires, 0 to 100.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    training_progress: Annotated[Real, note("Share of the run that is done, 0 to 1.")] = None


@declares(
    "MEMORY_WARNING",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.memory_warnings", "memory pressure"),
)
class MemoryWarning(Event, frozen=True, kw_only=True):
    """Memory of the device, or of the process, is nearly used up."""

    device: Annotated[Text, note("Device, or cpu.")] = None
    gpu_utilization: Annotated[Real, note("Memory in use over memory present, 0 to 1.")] = None
    gpu_allocated_gb: Annotated[Real, note("Memory in use, GiB.")] = None
    gpu_total_gb: Annotated[Real, note("Memory present, GiB.")] = None
    threshold: Annotated[Real, note("Level that was crossed, 0 to 1.")] = None


@declares(
    "REWARD_HACKING_SUSPECTED",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=(
        counter(
            "simic.reward_hacking_suspicions",
            unit="{detection}",
            attributes=("pattern",),
            description="Times that a seed seemed to collect reward without helping.",
        ),
    ),
)
class RewardHackingSuspected(Event, frozen=True, kw_only=True):
    """A seed collects credit that the host's accuracy does not confirm."""

    pattern: Annotated[Text, note("Rule that fired: attribution_ratio or ransomware_signature.")] = None
    env_id: Annotated[Whole, note("Environment.")] = None
    slot_id: Annotated[Text, note("Slot, named by row and column.")] = None
    seed_id: Annotated[Text, note("The seed.")] = None
    seed_contribution: Annotated[Real, note("Accuracy credited to the seed, percentage points.")] = None
    total_improvement: Annotated[Real, note("Improvement it is compared with, percentage points.")] = None
    ratio: Annotated[Real, note("Contribution over improvement.")] = None
    threshold: Annotated[Real, note("Ratio that fires.")] = None
    contribution_threshold: Annotated[Real, note("Contribution that the second rule needs, percentage points.")] = None
    degradation_threshold: Annotated[
        Real, note("Improvement under which the second rule fires, percentage points.")
    ] = None
