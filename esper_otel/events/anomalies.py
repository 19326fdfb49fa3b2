"""Anomalies and trends: what Simic's detectors found.

Thresholds belong to the detectors in the trainer; an event carries the numbers that made one fire.
"""

from typing import Annotated, Any

from esper_otel.events.declare import Domain, Event, Severity, counter, declares, gauge, note


def _trend(metric: str, what: str) -> tuple[Any, ...]:
    return (counter(metric, unit="{detection}", description=f"Times that {what} was detected."),)


class Trend(Event, frozen=True, kw_only=True):
    """Fields of every trend event."""

    batch_idx: Annotated[int | None, note("Batch in which the trend was noticed, from 1.")] = None
    episodes_completed: Annotated[int | None, note("Episodes finished so far.")] = None
    rolling_delta: Annotated[float | None, note("Change of the rolling accuracy, percentage points.")] = None
    rolling_avg_accuracy: Annotated[float | None, note("Rolling accuracy now, 0 to 100.")] = None
    prev_rolling_avg_accuracy: Annotated[float | None, note("Rolling accuracy one batch earlier, 0 to 100.")] = None


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

    anomaly_type: Annotated[str | None, note("Precise name of the anomaly, finer than the event.")] = None
    episode: Annotated[int | None, note("Episodes finished when it was found.")] = None
    batch: Annotated[int | None, note("Number of the batch (round), from 1.")] = None
    inner_epoch: Annotated[int | None, note("Epoch within the episode.")] = None
    total_episodes: Annotated[int | None, note("Episodes planned.")] = None
    value: Annotated[float | None, note("Measured value that fired.")] = None
    threshold: Annotated[float | None, note("Limit that it crossed.")] = None
    detail: Annotated[str | None, note("Measured numbers in words.")] = None
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

    env_id: Annotated[int | None, note("Environment; the value is a mean over all of them.")] = None
    current_acc: Annotated[float | None, note("Mean accuracy of the batch, 0 to 100.")] = None
    rolling_avg_acc: Annotated[float | None, note("Rolling accuracy it is compared with, 0 to 100.")] = None
    drop_percent: Annotated[float | None, note("Relative drop, 0 to 100.", gauge("simic.accuracy_drop"))] = None
    threshold_percent: Annotated[float | None, note("Drop that fires, 0 to 100.")] = None
    episode_idx: Annotated[int | None, note("Episode, counted over the run.")] = None
    training_progress: Annotated[float | None, note("Share of the run that is done, 0 to 1.")] = None


@declares(
    "MEMORY_WARNING",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    metrics=_trend("simic.memory_warnings", "memory pressure"),
)
class MemoryWarning(Event, frozen=True, kw_only=True):
    """Memory of the device, or of the process, is nearly used up."""

    device: Annotated[str | None, note("Device, or cpu.")] = None
    gpu_utilization: Annotated[float | None, note("Memory in use over memory present, 0 to 1.")] = None
    gpu_allocated_gb: Annotated[float | None, note("Memory in use, GiB.")] = None
    gpu_total_gb: Annotated[float | None, note("Memory present, GiB.")] = None
    threshold: Annotated[float | None, note("Level that was crossed, 0 to 1.")] = None


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

    pattern: Annotated[str | None, note("Rule that fired: attribution_ratio or ransomware_signature.")] = None
    env_id: Annotated[int | None, note("Environment.")] = None
    slot_id: Annotated[str | None, note("Slot, named by row and column.")] = None
    seed_id: Annotated[str | None, note("The seed.")] = None
    seed_contribution: Annotated[float | None, note("Accuracy credited to the seed, percentage points.")] = None
    total_improvement: Annotated[float | None, note("Improvement it is compared with, percentage points.")] = None
    ratio: Annotated[float | None, note("Contribution over improvement.")] = None
    threshold: Annotated[float | None, note("Ratio that fires.")] = None
    contribution_threshold: Annotated[
        float | None, note("Contribution that the second rule needs, percentage points.")
    ] = None
    degradation_threshold: Annotated[
        float | None, note("Improvement under which the second rule fires, percentage points.")
    ] = None
