"""Kasmina, the seeds: their life cycle, gates, morphology and diversity."""

from typing import Annotated

from esper_otel.events.declare import Domain, Event, Metric, Severity, Tier, counter, declares, gauge, note
from esper_otel.events.types import Flag, Real, Text, Texts, Whole

_CAUSE = "Join key to the causal log's {} row; absent for automatic steps."


def _contribution(name: str, description: str, scale: float = 1.0) -> Metric:
    return counter(name, scale=scale, attributes=("blueprint_id",), description=description, shared=True)


LAST_CONTRIBUTION = (
    _contribution(
        "kasmina.contribution_gained",
        "Accuracy that seeds added when last measured, of those that were kept or removed, percentage points.",
    ),
    _contribution(
        "kasmina.contribution_lost",
        "Accuracy that seeds cost when last measured, of those that were kept or removed, percentage points.",
        -1.0,
    ),
)
"""A contribution of either sign as two sums that only grow: a counter leaves out what is below 0."""


class SeedEvent(Event, frozen=True, kw_only=True):
    """Fields of every event about one seed."""

    seed_id: Annotated[Text, note("The seed.")] = None
    slot_id: Annotated[Text, note("Slot, named by row and column.")] = None
    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    epoch: Annotated[Whole, note("Envelope's epoch: episodes completed at the end of the batch.")] = None


class Mutation(SeedEvent, frozen=True, kw_only=True):
    """Fields of every event in which a seed changed, with the causal log ids that led to it."""

    morphology_proposal_id: Annotated[Text, note(_CAUSE.format("proposal"))] = None
    morphology_verdict_id: Annotated[Text, note(_CAUSE.format("verdict"))] = None
    morphology_mutation_id: Annotated[Text, note(_CAUSE.format("mutation"))] = None
    rng_stream: Annotated[Text, note("Random stream that the mutation drew from.")] = None
    rng_seed: Annotated[Whole, note("Seed of that stream, unsigned 64 bit and above.")] = None


@declares(
    "SEED_GERMINATED",
    domain=Domain.KASMINA,
    epoch_field="epoch",
    metrics=(
        counter(
            "kasmina.germinations", unit="{seed}", attributes=("blueprint_id",), description="Seeds placed in a slot."
        ),
    ),
)
class SeedGerminated(Mutation, frozen=True, kw_only=True):
    """A seed was placed in a slot."""

    blueprint_id: Annotated[Text, note("Kind of module that the seed is.")] = None
    params: Annotated[
        Whole, note("Trainable parameters of the seed.", counter("kasmina.germinated_params", unit="{parameter}"))
    ] = None
    alpha: Annotated[Real, note("Blend weight at birth, 0 to 1.")] = None
    grad_ratio: Annotated[Real, note("Seed over host gradient norm, each by the root of its size.")] = None
    has_vanishing: Annotated[Flag, note("The seed's gradients vanish.")] = None
    has_exploding: Annotated[Flag, note("The seed's gradients explode.")] = None
    epochs_in_stage: Annotated[Whole, note("Epochs in the stage.")] = None
    blend_tempo_epochs: Annotated[Whole, note("Epochs that the later blend ramp will take.")] = None
    alpha_curve: Annotated[Text, note("Shape of the alpha ramp that the controller follows.")] = None


@declares(
    "SEED_STAGE_CHANGED",
    domain=Domain.KASMINA,
    epoch_field="epoch",
    metrics=(
        counter(
            "kasmina.stage_changes",
            unit="{change}",
            attributes=("from_stage", "to_stage"),
            description="Changes of a seed's stage.",
        ),
    ),
)
class SeedStageChanged(Mutation, frozen=True, kw_only=True):
    """A seed left one stage for another."""

    from_stage: Annotated[Text, note("Stage that was left.")] = None
    to_stage: Annotated[Text, note("Stage that was entered.")] = None
    blueprint_id: Annotated[Text, note("Kind of module that the seed is.")] = None
    alpha: Annotated[Real, note("Blend weight at the change, 0 to 1.")] = None
    accuracy_delta: Annotated[Real, note("Accuracy change since germination, percentage points.")] = None
    epochs_in_stage: Annotated[Whole, note("Epochs spent in the stage that was left.")] = None
    grad_ratio: Annotated[Real, note("Seed over host gradient norm, each by the root of its size.")] = None
    has_vanishing: Annotated[Flag, note("The seed's gradients vanish.")] = None
    has_exploding: Annotated[Flag, note("The seed's gradients explode.")] = None
    alpha_curve: Annotated[Text, note("Shape of the alpha ramp that the controller follows.")] = None


@declares(
    "SEED_GATE_EVALUATED",
    domain=Domain.KASMINA,
    epoch_field="epoch",
    metrics=(
        counter(
            "kasmina.gate_evaluations",
            unit="{evaluation}",
            attributes=("gate", "passed"),
            description="Gate checks by gate and result.",
        ),
    ),
)
class SeedGateEvaluated(SeedEvent, frozen=True, kw_only=True):
    """A gate decided whether a seed may enter its next stage."""

    gate: Annotated[Text, note("Gate: G0, G1, G2, G3 or G5.")] = None
    passed: Annotated[Flag, note("The gate let the seed through.")] = None
    target_stage: Annotated[Text, note("Stage that the seed wanted to enter.")] = None
    checks_passed: Annotated[Texts, note("Checks that held.")] = None
    checks_failed: Annotated[Texts, note("Checks that failed.")] = None
    message: Annotated[Text, note("Verdict in words.")] = None


@declares(
    "SEED_FOSSILIZED",
    domain=Domain.KASMINA,
    epoch_field="epoch",
    metrics=(
        counter(
            "kasmina.fossilizations", unit="{seed}", attributes=("blueprint_id",), description="Seeds made permanent."
        ),
    ),
)
class SeedFossilized(Mutation, frozen=True, kw_only=True):
    """A seed became a permanent part of its host."""

    blueprint_id: Annotated[Text, note("Kind of module that the seed is.")] = None
    improvement: Annotated[
        Real,
        note("Accuracy change credited since germination, percentage points.", gauge("kasmina.fossilized_improvement")),
    ] = None
    params_added: Annotated[
        Whole, note("Parameters made permanent.", counter("kasmina.fossilized_params", unit="{parameter}"))
    ] = None
    alpha: Annotated[Real, note("Final blend weight, 0 to 1.")] = None
    epochs_total: Annotated[Whole, note("Age of the seed, epochs.")] = None
    counterfactual: Annotated[
        Real, note("Accuracy with the seed minus without, percentage points.", *LAST_CONTRIBUTION)
    ] = None
    blending_delta: Annotated[Real, note("Accuracy change during blending, percentage points.")] = None


@declares(
    "SEED_PRUNED",
    domain=Domain.KASMINA,
    epoch_field="epoch",
    metrics=(
        counter(
            "kasmina.prunes",
            unit="{seed}",
            attributes=("initiator", "blueprint_id"),
            description="Seeds removed, by initiator.",
        ),
    ),
)
class SeedPruned(Mutation, frozen=True, kw_only=True):
    """A seed was removed."""

    blueprint_id: Annotated[Text, note("Kind of module that the seed was.")] = None
    reason: Annotated[Text, note("Reason for the removal.")] = None
    initiator: Annotated[Text, note("Initiator of the removal: policy, governor or auto.")] = None
    auto_pruned: Annotated[Flag, note("Removed by a safety rule, not by the policy.")] = None
    improvement: Annotated[Real, note("Accuracy change since germination, percentage points.")] = None
    epochs_total: Annotated[Whole, note("Age of the seed, epochs.")] = None
    counterfactual: Annotated[
        Real, note("Accuracy with the seed minus without, percentage points.", *LAST_CONTRIBUTION)
    ] = None
    blending_delta: Annotated[Real, note("Accuracy change during blending, percentage points.")] = None


@declares("KASMINA_SEED_DIVERSITY", domain=Domain.KASMINA, attributes=("env_id",), epoch_field="inner_epoch")
class SeedDiversity(Event, frozen=True, kw_only=True):
    """Diversity of the live seeds of an environment (plan, Appendix G.4)."""

    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    active_seeds: Annotated[Whole, note("Live seeds.", gauge("kasmina.active_seeds", unit="{seed}"))] = None
    distinct_blueprints: Annotated[
        Whole, note("Different blueprints among them.", gauge("kasmina.distinct_blueprints"))
    ] = None
    blueprint_entropy: Annotated[
        Real, note("Entropy of the blueprints over its maximum, 0 to 1.", gauge("kasmina.blueprint_entropy"))
    ] = None
    output_similarity: Annotated[
        Real,
        note(
            "Mean absolute cosine of the seeds' contributions, 0 to 1.",
            gauge("kasmina.output_similarity"),
            tier=Tier.MEDIUM,
        ),
    ] = None


@declares(
    "MORPHOLOGY_CAUSAL_LOG",
    domain=Domain.KASMINA,
    severity=Severity.DEBUG,
    epoch_field="inner_epoch",
    metrics=(
        counter(
            "kasmina.morphology_records",
            unit="{record}",
            attributes=("phase",),
            description="Rows of the causal log by phase.",
        ),
    ),
)
class MorphologyCausalLog(Event, frozen=True, kw_only=True):
    """One link of the chain proposal, verdict, mutation, dispatch, commit behind a change of the host."""

    phase: Annotated[Text, note("Step of the causal chain.")] = None
    env_id: Annotated[Whole, note("Environment.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    slot_id: Annotated[Text, note("Slot, named by row and column.")] = None
    operation: Annotated[Text, note("Life-cycle operation.")] = None
    action_id: Annotated[Text, note("Action that the chain is about; repeats across runs.")] = None
    proposal_id: Annotated[Text, note("Id of the proposal.")] = None
    verdict_id: Annotated[Text, note("Id of the governor's verdict.")] = None
    mutation_id: Annotated[Text, note("Id of the mutation.")] = None
    observation_hash: Annotated[Text, note("Short hash of the policy's observation.")] = None
    rng_stream: Annotated[Text, note("Random stream that the mutation drew from.")] = None
    rng_seed: Annotated[Whole, note("Seed of that stream, unsigned 64 bit and above.")] = None
    topology: Annotated[Text, note("Kind of host: cnn, transformer or unknown.")] = None
    blueprint_id: Annotated[Text, note("Blueprint, for GERMINATE.")] = None
    governor_approved: Annotated[Flag, note("The governor's verdict.")] = None
    governor_reason: Annotated[Text, note("The verdict as text.")] = None
    governor_blocked_factor: Annotated[Text, note("Rule that blocked the change.")] = None
    watch_window_evidence: Annotated[Real, note("Loss at a panic, nats.")] = None
    linked_event_id: Annotated[Text, note("Mutation that the row refers to; not an event id.")] = None


@declares("TOPOLOGY_MANIFEST_RECORDED", domain=Domain.KASMINA, epoch_field="epoch")
class TopologyManifest(Event, frozen=True, kw_only=True):
    """The final topology of a host was recorded, or rebuilt from a record."""

    epoch: Annotated[Whole, note("Envelope's epoch.")] = None
    manifest_role: Annotated[Text, note("source_final or static_final_replay.")] = None
    proof_baseline_pair_id: Annotated[Text, note("Id shared by the compared cohorts.")] = None
    topology_manifest_version: Annotated[Whole, note("Format version of the manifest.")] = None
    topology_manifest_hash: Annotated[Text, note("Content hash of the manifest.")] = None
    topology_manifest_json: Annotated[Text, note("The manifest as JSON text.")] = None
    task: Annotated[Text, note("Task.")] = None
    host_topology: Annotated[Text, note("Kind of host: cnn or transformer.")] = None
    slot_config_hash: Annotated[Text, note("Hash of the slot layout.")] = None
    slot_count: Annotated[Whole, note("Slots.")] = None
    fossilized_seed_count: Annotated[Whole, note("Permanent seeds in the manifest.")] = None
    topology_delta_count: Annotated[Whole, note("Changes against the bare host.")] = None
    source_run_dir: Annotated[Text, note("Directory of the source run.")] = None
    source_group_id: Annotated[Text, note("Group of the source run.")] = None
    source_episode_idx: Annotated[Whole, note("Episode of the source run.")] = None
    source_event_id: Annotated[Text, note("Event that recorded the source manifest.")] = None
    source_topology_manifest_hash: Annotated[Text, note("Hash of the source manifest.")] = None
    replay_weight_policy: Annotated[Text, note("Initialisation of weights for the replay.")] = None
    replay_env_id: Annotated[Whole, note("Environment of the replay.")] = None
    replay_episode_idx: Annotated[Whole, note("Episode of the replay.")] = None
    replayed_topology_manifest_hash: Annotated[Text, note("Hash of the rebuilt topology.")] = None
    manifest_match: Annotated[Flag, note("Source and rebuilt hash are equal.")] = None
