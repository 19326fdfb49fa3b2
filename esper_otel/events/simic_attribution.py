"""Attribution of accuracy to seeds: counterfactual matrices and Shapley values."""

from typing import Annotated

import msgspec

from esper_otel.events.declare import Domain, Event, counter, declares, gauge, milliseconds, note
from esper_otel.events.types import Real, Text, Texts, Whole


class SeedConfiguration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Accuracy of a host with some of its seeds switched on."""

    seed_mask: Annotated[tuple[bool, ...], note("Whether each slot's seed was on, in the order of slot_ids.")]
    accuracy: Annotated[float, note("Accuracy with that pattern, 0 to 100.")]


@declares(
    "COUNTERFACTUAL_MATRIX_COMPUTED",
    domain=Domain.SIMIC,
    metrics=(counter("simic.counterfactuals", unit="{matrix}", description="Counterfactual matrices computed."),),
)
class CounterfactualMatrix(Event, frozen=True, kw_only=True):
    """Accuracy of one host for patterns of seeds switched on and off."""

    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    slot_ids: Annotated[Texts, note("Slots of the masks, in order.")] = None
    configs: Annotated[tuple[SeedConfiguration, ...] | None, note("Accuracy by pattern.")] = None
    strategy: Annotated[Text, note("full_factorial, ablation_only or unavailable.")] = None
    compute_time_ms: Annotated[Real, note("Time to compute it, ms.", milliseconds("simic.counterfactual.duration"))] = (
        None
    )


class ShapleyValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Share of one slot in the accuracy that the seeds gained together (Shapley 1953)."""

    mean: Annotated[
        Real,
        note(
            "Attributed accuracy, percentage points.",
            gauge("simic.shapley_value"),
        ),
    ] = None
    std: Annotated[
        Real, note("Error of the estimate: spread over sampled permutations; 0 when exact.", gauge("simic.shapley_std"))
    ] = None
    interaction_spread: Annotated[
        Real,
        note(
            "Spread of what the slot adds to each set of the others, percentage points: their interaction, no error.",
            gauge("simic.shapley_interaction_spread"),
        ),
    ] = None
    n_samples: Annotated[Whole, note("Permutations or coalitions evaluated.")] = None


@declares(
    "SIMIC_SHAPLEY_COMPUTED",
    domain=Domain.SIMIC,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="shapley_computed",
    attributes=("env_id",),
)
class ShapleyComputed(Event, frozen=True, kw_only=True):
    """Shapley values of the seeds of one environment."""

    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    num_slots: Annotated[Whole, note("Slots that took part.")] = None
    shapley_values: Annotated[dict[str, ShapleyValue] | None, note("Value by slot.", key="slot")] = None
