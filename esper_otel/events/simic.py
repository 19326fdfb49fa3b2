"""Simic, the RL loop: runs, episodes, rewards, attribution, trends."""

from typing import Annotated

import msgspec

from esper_otel.events.bounds import SECONDS
from esper_otel.events.declare import Domain, Event, Severity, counter, declares, gauge, histogram, note, timestamp


@declares(
    "TRAINING_STARTED",
    domain=Domain.SIMIC,
    metrics=(
        counter(
            "simic.training_starts", unit="{start}", description="Training starts; each A/B arm and each resume is one."
        ),
        timestamp("simic.training_start.timestamp", description="When training started, Unix time."),
    ),
)
class TrainingStarted(Event, frozen=True, kw_only=True):
    """Training starts: the configuration of a run, or of one arm of an A/B run."""

    task: Annotated[str | None, note("Task.")] = None
    n_envs: Annotated[
        int | None, note("Environments trained side by side.", gauge("simic.envs", unit="{environment}"))
    ] = None
    max_epochs: Annotated[int | None, note("Host epochs in an episode.", gauge("simic.max_epochs"))] = None
    max_batches: Annotated[
        int | None, note("Rounds planned, those before a resume included.", gauge("simic.max_batches"))
    ] = None
    n_episodes: Annotated[int | None, note("Episodes planned in total.", gauge("simic.max_episodes"))] = None
    host_params: Annotated[
        int | None, note("Trainable parameters of the bare host.", gauge("simic.host_params", unit="{parameter}"))
    ] = None
    param_budget: Annotated[
        int | None, note("Seed parameters allowed before the penalty.", gauge("simic.param_budget", unit="{parameter}"))
    ] = None
    slot_ids: Annotated[tuple[str, ...] | None, note("Enabled slots in order.")] = None
    seed: Annotated[int | None, note("Random seed of the run.")] = None
    lr: Annotated[float | None, note("Learning rate of the policy optimiser.")] = None
    clip_ratio: Annotated[float | None, note("PPO's clip range.")] = None
    max_grad_norm: Annotated[
        float | None, note("Gradient norm that the policy is clipped to.", gauge("simic.max_grad_norm"))
    ] = None
    entropy_coef: Annotated[float | None, note("Entropy bonus at the start.")] = None
    entropy_anneal: Annotated[dict[str, float] | None, note("Entropy schedule: start, end, episodes, steps.")] = None
    gamma: Annotated[float | None, note("Discount.")] = None
    gae_lambda: Annotated[float | None, note("GAE's lambda.")] = None
    ppo_updates_per_batch: Annotated[int | None, note("Policy updates planned in a batch.")] = None
    policy_device: Annotated[str | None, note("Device of the policy.")] = None
    env_devices: Annotated[tuple[str, ...] | None, note("Devices of the environments.")] = None
    reward_mode: Annotated[str | None, note("Reward variant in force.")] = None
    episode_id: Annotated[str | None, note("Label of the run made from seed and length; not unique.")] = None
    resume_path: Annotated[str | None, note("Checkpoint that the run continues from.")] = None
    start_episode: Annotated[int | None, note("First episode number after a resume.")] = None
    world_size: Annotated[int | None, note("Processes of a distributed run.")] = None
    rank: Annotated[int | None, note("Rank of the process.")] = None
    local_rank: Annotated[int | None, note("Rank on its machine.")] = None
    amp_enabled: Annotated[bool | None, note("Mixed precision is on.")] = None
    amp_dtype: Annotated[str | None, note("Number format of mixed precision.")] = None
    compile_enabled: Annotated[bool | None, note("torch.compile is on.")] = None
    compile_backend: Annotated[str | None, note("Compiler backend.")] = None
    compile_mode: Annotated[str | None, note("Compiler preset.")] = None
    proof_baseline_mode: Annotated[str | None, note("Kind of control cohort in a proof plan.")] = None
    proof_baseline_pair_id: Annotated[str | None, note("Id shared by the compared cohorts.")] = None
    proof_baseline_lifecycle_policy: Annotated[str | None, note("Who acts in the control cohort.")] = None
    proof_baseline_schedule_id: Annotated[str | None, note("Id of a fixed action schedule.")] = None
    proof_baseline_schedule_hash: Annotated[str | None, note("Content hash of that schedule.")] = None
    proof_baseline_schedule_version: Annotated[int | None, note("Format version of that schedule.")] = None
    proof_baseline_schedule_action_count: Annotated[int | None, note("Actions in that schedule.")] = None


@declares(
    "CHECKPOINT_LOADED",
    domain=Domain.SIMIC,
    metrics=(counter("simic.checkpoints_loaded", unit="{checkpoint}", description="Checkpoints loaded."),),
)
class CheckpointLoaded(Event, frozen=True, kw_only=True):
    """A run continues from a checkpoint."""

    path: Annotated[str | None, note("Checkpoint file.")] = None
    start_episode: Annotated[int | None, note("Episode number at which training continues.")] = None
    source: Annotated[str | None, note("Label of the checkpoint.")] = None
    avg_accuracy: Annotated[float | None, note("Accuracy stored in the checkpoint, 0 to 100.")] = None


@declares(
    "CHECKPOINT_SAVED",
    domain=Domain.SIMIC,
    metrics=(counter("simic.checkpoints_saved", unit="{checkpoint}", description="Checkpoints written."),),
)
class CheckpointSaved(Event, frozen=True, kw_only=True):
    """A checkpoint was written."""

    path: Annotated[str | None, note("Checkpoint file.")] = None
    episodes_completed: Annotated[int | None, note("Episodes finished so far.")] = None
    size_bytes: Annotated[int | None, note("Size of the file, bytes.", gauge("simic.checkpoint_size", unit="By"))] = (
        None
    )


@declares(
    "EPISODE_OUTCOME",
    domain=Domain.SIMIC,
    attributes=("env_id",),
    epoch_field="episode_idx",
    metrics=(counter("simic.episodes", unit="{episode}", description="Episodes finished."),),
)
class EpisodeOutcome(Event, frozen=True, kw_only=True):
    """An episode of one environment ended."""

    env_id: Annotated[int | None, note("Environment.")] = None
    episode_idx: Annotated[int | None, note("Episode, counted over the run.")] = None
    final_accuracy: Annotated[float | None, note("Accuracy at the end, 0 to 100.", gauge())] = None
    param_ratio: Annotated[
        float | None, note("Model size at the end over the bare host's; 1 is no growth.", gauge("simic.param_growth"))
    ] = None
    num_fossilized: Annotated[int | None, note("Seeds made permanent.", gauge("simic.fossilized_seeds"))] = None
    num_contributing_fossilized: Annotated[
        int | None, note("Permanent seeds that helped enough.", gauge("simic.contributing_fossilized_seeds"))
    ] = None
    episode_reward: Annotated[float | None, note("Sum of the episode's rewards.", gauge())] = None
    stability_score: Annotated[float | None, note("1 / (1 + variance of recent rewards), 0 to 1.", gauge())] = None
    reward_mode: Annotated[str | None, note("Reward variant.")] = None
    episode_length: Annotated[int | None, note("Epochs in the episode.", gauge())] = None
    outcome_type: Annotated[str | None, note("success or timeout.")] = None
    germinate_count: Annotated[int | None, note("GERMINATE actions.", gauge("simic.episode_germinations"))] = None
    prune_count: Annotated[int | None, note("PRUNE actions.", gauge("simic.episode_prunes"))] = None
    fossilize_count: Annotated[int | None, note("FOSSILIZE actions.", gauge("simic.episode_fossilizations"))] = None


@declares(
    "SIMIC_REWARD_COMPUTED",
    domain=Domain.SIMIC,
    severity=Severity.DEBUG,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="last_action",
    attributes=("env_id",),
    epoch_field="inner_epoch",
    metrics=(counter("simic.rewards", unit="{reward}", description="Rewards computed."),),
)
class RewardComputed(Event, frozen=True, kw_only=True):
    """The reward of one decision and what it is made of: ``total_reward`` is the sum of ``components``."""

    env_id: Annotated[int | None, note("Environment.")] = None
    episode_idx: Annotated[int | None, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[int | None, note("Epoch within the episode, from 1.")] = None
    action_name: Annotated[str | None, note("Operation that the reward is for.")] = None
    action_success: Annotated[bool | None, note("The operation was carried out.")] = None
    total_reward: Annotated[float | None, note("The reward.", gauge("simic.step_reward"))] = None
    components: Annotated[
        dict[str, float] | None,
        note("Signed addends of the reward by name.", gauge("simic.reward_component"), key="component"),
    ] = None
    shaped_reward_ratio: Annotated[
        float | None,
        note("Size of the shaping parts over the size of the total.", gauge("simic.shaped_reward_fraction")),
    ] = None
    base_acc_delta: Annotated[
        float | None, note("Accuracy change of the step, percentage points.", gauge("simic.accuracy_delta"))
    ] = None
    seed_contribution: Annotated[float | None, note("Measured contribution of the seed, percentage points.")] = None
    progress_since_germination: Annotated[
        float | None, note("Accuracy change since the seed was born, percentage points.")
    ] = None
    stable_val_acc: Annotated[float | None, note("Smoothed accuracy, 0 to 100.")] = None
    attribution_discount: Annotated[float | None, note("Factor that shrinks credit after regressions, 0 to 1.")] = None
    escrow_credit_prev: Annotated[float | None, note("Escrow before the step.")] = None
    escrow_credit_target: Annotated[float | None, note("Escrow aimed at.")] = None
    escrow_credit_next: Annotated[float | None, note("Escrow after the step.")] = None
    timing_discount: Annotated[float | None, note("Factor that shrinks early germination, 0 to 1.")] = None
    drip_this_epoch: Annotated[float | None, note("Payout of permanent seeds in this step.")] = None
    drip_immediate_bonus: Annotated[float | None, note("Part paid at fossilisation.")] = None
    drip_deferred_total: Annotated[float | None, note("Part put aside at fossilisation.")] = None
    num_drip_sources: Annotated[int | None, note("Seeds that pay out now.")] = None
    num_fossilized_seeds: Annotated[int | None, note("Permanent seeds so far.")] = None
    num_contributing_fossilized: Annotated[int | None, note("Permanent seeds that help enough.")] = None
    n_active_seeds: Annotated[int | None, note("Live seeds.")] = None
    seed_stage: Annotated[int | None, note("Stage number of the seed aimed at.")] = None
    val_acc: Annotated[float | None, note("Accuracy that was used, 0 to 100.")] = None
    acc_at_germination: Annotated[float | None, note("Accuracy when the seed was born, 0 to 100.")] = None
    host_baseline_acc: Annotated[float | None, note("Accuracy with the seed switched off, 0 to 100.")] = None
    growth_ratio: Annotated[
        float | None, note("Seed parameters over host parameters; 0 is no growth.", gauge("simic.seed_growth"))
    ] = None


@declares(
    "SIMIC_REWARD_SUMMARY",
    domain=Domain.SIMIC,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="reward_summary",
    epoch_field="episodes_completed",
)
class RewardSummary(Event, frozen=True, kw_only=True):
    """Rewards of a batch summed by component."""

    env_id: Annotated[int | None, note("Environment.")] = None
    batch: Annotated[int | None, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[int | None, note("Episodes finished so far.")] = None
    summary: Annotated[dict[str, float] | None, note("Reward sums by component.")] = None
    hindsight_credit: Annotated[float | None, note("Late credit to seeds that scaffolded others.")] = None
    scaffold_count: Annotated[int | None, note("Scaffolds credited.")] = None
    avg_scaffold_delay: Annotated[float | None, note("Mean epochs since the scaffolding.")] = None


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

    env_id: Annotated[int | None, note("Environment.")] = None
    episode_idx: Annotated[int | None, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[int | None, note("Epoch within the episode, from 1.")] = None
    slot_ids: Annotated[tuple[str, ...] | None, note("Slots of the masks, in order.")] = None
    configs: Annotated[tuple[SeedConfiguration, ...] | None, note("Accuracy by pattern.")] = None
    strategy: Annotated[str | None, note("full_factorial, ablation_only or unavailable.")] = None
    compute_time_ms: Annotated[
        float | None,
        note(
            "Time to compute it, ms.", histogram("simic.counterfactual.duration", unit="s", scale=1e-3, bounds=SECONDS)
        ),
    ] = None


class ShapleyValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Share of one slot in the accuracy that the seeds gained together (Shapley 1953)."""

    mean: Annotated[float | None, note("Attributed accuracy, percentage points.", gauge("simic.shapley_value"))] = None
    std: Annotated[float | None, note("Spread over permutations; 0 when exact.", gauge("simic.shapley_std"))] = None
    n_samples: Annotated[int | None, note("Permutations or coalitions evaluated.")] = None


@declares(
    "SIMIC_SHAPLEY_COMPUTED",
    domain=Domain.SIMIC,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="shapley_computed",
    attributes=("env_id",),
)
class ShapleyComputed(Event, frozen=True, kw_only=True):
    """Shapley values of the seeds of one environment."""

    env_id: Annotated[int | None, note("Environment.")] = None
    episode_idx: Annotated[int | None, note("Episode, counted over the run.")] = None
    batch: Annotated[int | None, note("Number of the batch (round), from 1.")] = None
    num_slots: Annotated[int | None, note("Slots that took part.")] = None
    shapley_values: Annotated[dict[str, ShapleyValue] | None, note("Value by slot.", key="slot")] = None


@declares(
    "SIMIC_BATCH_STATS",
    domain=Domain.SIMIC,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="batch_stats",
    epoch_field="episodes_completed",
)
class BatchStats(Event, frozen=True, kw_only=True):
    """Summary of a batch, sent whether or not the policy was updated."""

    batch: Annotated[int | None, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[int | None, note("Episodes finished so far.")] = None
    inner_epoch: Annotated[int | None, note("Last epoch of the episodes.")] = None
    accuracy: Annotated[
        float | None, note("Mean accuracy of the last batches, 0 to 100.", gauge("simic.rolling_accuracy"))
    ] = None
    host_accuracy: Annotated[
        float | None, note("Mean final accuracy of this batch, 0 to 100.", gauge("simic.batch_accuracy"))
    ] = None
    entropy: Annotated[float | None, note("Policy entropy, nats.")] = None
    kl_divergence: Annotated[float | None, note("Approximate KL divergence, nats.")] = None
    explained_variance: Annotated[float | None, note("Explained variance of the critic.")] = None
    seeds_created: Annotated[int | None, note("Seeds born in the batch.", gauge("simic.batch_seeds_created"))] = None
    seeds_fossilized: Annotated[
        int | None, note("Seeds made permanent in the batch.", gauge("simic.batch_seeds_fossilized"))
    ] = None
    skipped_update: Annotated[
        bool | None, note("No update changed the policy in this batch.", gauge("simic.batch_update_skipped"))
    ] = None
    rollback_attempt_count: Annotated[int | None, note("Rollbacks in the batch.")] = None
    rollback_unattributed_count: Annotated[int | None, note("Rollbacks with no step to blame.")] = None


@declares("SIMIC_SUMMARY_TABLE", domain=Domain.SIMIC, legacy="ANALYTICS_SNAPSHOT", legacy_kind="summary_table")
class SummaryTable(Event, frozen=True, kw_only=True):
    """Text tables that esper-lite prints."""

    batch: Annotated[int | None, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[int | None, note("Episodes finished so far.")] = None
    summary_table: Annotated[str | None, note("Blueprint statistics as text.")] = None
    scoreboard_tables: Annotated[dict[str, str] | None, note("Scoreboard as text, by environment.")] = None


@declares("SIMIC_HEURISTIC_CONFIG", domain=Domain.SIMIC, legacy="ANALYTICS_SNAPSHOT", legacy_kind="heuristic_config")
class HeuristicConfig(Event, frozen=True, kw_only=True):
    """Configuration of esper-lite's rule-based trainer."""

    env_id: Annotated[int | None, note("Environment.")] = None
    mode: Annotated[str | None, note("heuristic.")] = None
    task: Annotated[str | None, note("Task.")] = None
    topology: Annotated[str | None, note("Kind of host: cnn or transformer.")] = None
    episodes: Annotated[int | None, note("Episodes planned.")] = None
    max_epochs: Annotated[int | None, note("Epochs in an episode.")] = None
    max_batches: Annotated[int | None, note("Batches in an epoch.")] = None
    device: Annotated[str | None, note("Device.")] = None
    slots: Annotated[tuple[str, ...] | None, note("Enabled slots.")] = None
    min_fossilize_improvement: Annotated[float | None, note("Gain needed to fossilise, percentage points.")] = None
    max_seeds: Annotated[int | None, note("Seeds allowed.")] = None
    reward_mode: Annotated[str | None, note("Reward variant.")] = None


@declares("SIMIC_HEURISTIC_EPISODE", domain=Domain.SIMIC, legacy="ANALYTICS_SNAPSHOT", legacy_kind="heuristic_episode")
class HeuristicEpisode(Event, frozen=True, kw_only=True):
    """An episode of the rule-based trainer ended."""

    env_id: Annotated[int | None, note("Environment.")] = None
    mode: Annotated[str | None, note("heuristic.")] = None
    task: Annotated[str | None, note("Task.")] = None
    episode_id: Annotated[str | None, note("Label of the run.")] = None
    episode: Annotated[int | None, note("Episode, from 1.")] = None
    episodes_total: Annotated[int | None, note("Episodes planned.")] = None
    base_seed: Annotated[int | None, note("Random seed of the episode.")] = None
    final_accuracy: Annotated[float | None, note("Final accuracy, 0 to 100.")] = None
    total_reward: Annotated[float | None, note("Reward of the episode.")] = None
    action_counts: Annotated[dict[str, int] | None, note("Times each operation was chosen.")] = None


@declares(
    "SIMIC_HEURISTIC_WARNING",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="heuristic_warning",
)
class HeuristicWarning(Event, frozen=True, kw_only=True):
    """The rule-based trainer runs with part of its telemetry off."""

    env_id: Annotated[int | None, note("Environment.")] = None
    mode: Annotated[str | None, note("heuristic.")] = None
    task: Annotated[str | None, note("Task.")] = None
    device: Annotated[str | None, note("Device.")] = None
    telemetry_lifecycle_only: Annotated[bool | None, note("Only life-cycle events are sent.")] = None
    telemetry_level: Annotated[str | None, note("Telemetry level.")] = None
