"""Simic, the RL loop: runs, episodes, rewards, attribution, trends."""

from typing import Annotated

from esper_otel.events.declare import Domain, Event, Severity, counter, declares, gauge, note, timestamp
from esper_otel.events.types import Flag, Real, Reals, Text, Texts, Whole


@declares(
    "TRAINING_STARTED",
    domain=Domain.SIMIC,
    metrics=(
        counter("simic.training_starts", unit="{start}", description="Starts of training, one per A/B arm and resume."),
        timestamp("simic.training_start.timestamp", description="Unix time of the start of training."),
    ),
)
class TrainingStarted(Event, frozen=True, kw_only=True):
    """Training starts: the configuration of a run, or of one arm of an A/B run."""

    task: Annotated[Text, note("Task.")] = None
    n_envs: Annotated[Whole, note("Environments trained side by side.", gauge("simic.envs", unit="{environment}"))] = (
        None
    )
    max_epochs: Annotated[Whole, note("Host epochs in an episode.", gauge("simic.max_epochs"))] = None
    max_batches: Annotated[
        Whole, note("Rounds planned, those before a resume included.", gauge("simic.max_batches"))
    ] = None
    n_episodes: Annotated[Whole, note("Episodes planned in total.", gauge("simic.max_episodes"))] = None
    host_params: Annotated[
        Whole, note("Trainable parameters of the bare host.", gauge("simic.host_params", unit="{parameter}"))
    ] = None
    param_budget: Annotated[
        Whole, note("Seed parameters allowed before the penalty.", gauge("simic.param_budget", unit="{parameter}"))
    ] = None
    slot_ids: Annotated[Texts, note("Enabled slots in order.")] = None
    seed: Annotated[Whole, note("Random seed of the run.")] = None
    lr: Annotated[Real, note("Learning rate of the policy optimiser.")] = None
    clip_ratio: Annotated[Real, note("PPO's clip range.")] = None
    max_grad_norm: Annotated[
        Real, note("Gradient norm that the policy is clipped to.", gauge("simic.max_grad_norm"))
    ] = None
    entropy_coef: Annotated[Real, note("Entropy bonus at the start.")] = None
    entropy_anneal: Annotated[Reals, note("Entropy schedule: start, end, episodes, steps.")] = None
    gamma: Annotated[Real, note("Discount.")] = None
    gae_lambda: Annotated[Real, note("GAE's lambda.")] = None
    ppo_updates_per_batch: Annotated[Whole, note("Policy updates planned in a batch.")] = None
    policy_device: Annotated[Text, note("Device of the policy.")] = None
    env_devices: Annotated[Texts, note("Devices of the environments.")] = None
    reward_mode: Annotated[Text, note("Reward variant in force.")] = None
    episode_id: Annotated[Text, note("Label of the run made from seed and length; not unique.")] = None
    resume_path: Annotated[Text, note("Checkpoint that the run continues from.")] = None
    start_episode: Annotated[Whole, note("First episode number after a resume.")] = None
    world_size: Annotated[Whole, note("Processes of a distributed run.")] = None
    rank: Annotated[Whole, note("Rank of the process.")] = None
    local_rank: Annotated[Whole, note("Rank on its machine.")] = None
    amp_enabled: Annotated[Flag, note("Mixed precision is on.")] = None
    amp_dtype: Annotated[Text, note("Number format of mixed precision.")] = None
    compile_enabled: Annotated[Flag, note("torch.compile is on.")] = None
    compile_backend: Annotated[Text, note("Compiler backend.")] = None
    compile_mode: Annotated[Text, note("Compiler preset.")] = None
    proof_baseline_mode: Annotated[Text, note("Kind of control cohort in a proof plan.")] = None
    proof_baseline_pair_id: Annotated[Text, note("Id shared by the compared cohorts.")] = None
    proof_baseline_lifecycle_policy: Annotated[Text, note("Actor in the control cohort.")] = None
    proof_baseline_schedule_id: Annotated[Text, note("Id of a fixed action schedule.")] = None
    proof_baseline_schedule_hash: Annotated[Text, note("Content hash of that schedule.")] = None
    proof_baseline_schedule_version: Annotated[Whole, note("Format version of that schedule.")] = None
    proof_baseline_schedule_action_count: Annotated[Whole, note("Actions in that schedule.")] = None


@declares(
    "CHECKPOINT_LOADED",
    domain=Domain.SIMIC,
    metrics=(counter("simic.checkpoints_loaded", unit="{checkpoint}", description="Checkpoints loaded."),),
)
class CheckpointLoaded(Event, frozen=True, kw_only=True):
    """A run continues from a checkpoint."""

    path: Annotated[Text, note("Checkpoint file.")] = None
    start_episode: Annotated[Whole, note("Episode number at which training continues.")] = None
    source: Annotated[Text, note("Label of the checkpoint.")] = None
    avg_accuracy: Annotated[Real, note("Accuracy stored in the checkpoint, 0 to 100.")] = None
    duration_ms: Annotated[Real, note("Wall time of the call that loaded it, ms; of autolog.")] = None


@declares("SIMIC_ROUND_STARTED", domain=Domain.SIMIC)
class RoundStarted(Event, frozen=True, kw_only=True):
    """A round begins. Its span comes with its end: this is what shows, with the trace's id, that it is under way."""

    batch: Annotated[Whole, note("Number of the round, from 1.")] = None


@declares(
    "CHECKPOINT_SAVED",
    domain=Domain.SIMIC,
    metrics=(counter("simic.checkpoints_saved", unit="{checkpoint}", description="Checkpoints written."),),
)
class CheckpointSaved(Event, frozen=True, kw_only=True):
    """A checkpoint was written."""

    path: Annotated[Text, note("Checkpoint file.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None
    size_bytes: Annotated[Whole, note("Size of the file, bytes.", gauge("simic.checkpoint_size", unit="By"))] = None
    duration_ms: Annotated[Real, note("Wall time of the call that saved it, ms.")] = None


@declares(
    "EPISODE_OUTCOME",
    domain=Domain.SIMIC,
    attributes=("env_id",),
    epoch_field="episode_idx",
    metrics=(counter("simic.episodes", unit="{episode}", description="Episodes finished."),),
)
class EpisodeOutcome(Event, frozen=True, kw_only=True):
    """An episode of one environment ended."""

    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    final_accuracy: Annotated[Real, note("Accuracy at the end, 0 to 100.", gauge())] = None
    param_ratio: Annotated[
        Real,
        note(
            "Model size at the end over the bare host's; 1 is no growth.",
            gauge("simic.param_growth"),
        ),
    ] = None
    num_fossilized: Annotated[Whole, note("Seeds made permanent.", gauge("simic.fossilized_seeds"))] = None
    num_contributing_fossilized: Annotated[
        Whole, note("Permanent seeds that helped enough.", gauge("simic.contributing_fossilized_seeds"))
    ] = None
    episode_reward: Annotated[Real, note("Sum of the episode's rewards.", gauge())] = None
    stability_score: Annotated[Real, note("1 / (1 + variance of recent rewards), 0 to 1.", gauge())] = None
    reward_mode: Annotated[Text, note("Reward variant.")] = None
    episode_length: Annotated[Whole, note("Epochs in the episode; steps, in any environment but ours.", gauge())] = None
    env_steps: Annotated[Whole, note("Environment steps of the program so far, by its own count.")] = None
    outcome_type: Annotated[Text, note("success or timeout.")] = None
    germinate_count: Annotated[Whole, note("GERMINATE actions.", gauge("simic.episode_germinations"))] = None
    prune_count: Annotated[Whole, note("PRUNE actions.", gauge("simic.episode_prunes"))] = None
    fossilize_count: Annotated[Whole, note("FOSSILIZE actions.", gauge("simic.episode_fossilizations"))] = None


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
    """The reward of one decision and its parts: ``total_reward`` is the sum of ``components``."""

    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    action_name: Annotated[Text, note("Operation that the reward is for.")] = None
    action_success: Annotated[Flag, note("The operation was carried out.")] = None
    total_reward: Annotated[Real, note("The reward.", gauge("simic.step_reward"))] = None
    components: Annotated[
        Reals, note("Signed addends of the reward by name.", gauge("simic.reward_component"), key="component")
    ] = None
    shaped_reward_ratio: Annotated[
        Real, note("Size of the shaping parts over the size of the total.", gauge("simic.shaped_reward_fraction"))
    ] = None
    base_acc_delta: Annotated[
        Real, note("Accuracy change of the step, percentage points.", gauge("simic.accuracy_delta"))
    ] = None
    seed_contribution: Annotated[Real, note("Measured contribution of the seed, percentage points.")] = None
    progress_since_germination: Annotated[Real, note("Accuracy change since the seed was born, percentage points.")] = (
        None
    )
    stable_val_acc: Annotated[Real, note("Smoothed accuracy, 0 to 100.")] = None
    attribution_discount: Annotated[Real, note("Factor that shrinks credit after regressions, 0 to 1.")] = None
    escrow_credit_prev: Annotated[Real, note("Escrow before the step.")] = None
    escrow_credit_target: Annotated[Real, note("Escrow aimed at.")] = None
    escrow_credit_next: Annotated[Real, note("Escrow after the step.")] = None
    timing_discount: Annotated[Real, note("Factor that shrinks early germination, 0 to 1.")] = None
    drip_this_epoch: Annotated[Real, note("Payout of permanent seeds in this step.")] = None
    drip_immediate_bonus: Annotated[Real, note("Part paid at fossilisation.")] = None
    drip_deferred_total: Annotated[Real, note("Part put aside at fossilisation.")] = None
    num_drip_sources: Annotated[Whole, note("Seeds that pay out now.")] = None
    num_fossilized_seeds: Annotated[Whole, note("Permanent seeds so far.")] = None
    num_contributing_fossilized: Annotated[Whole, note("Permanent seeds that help enough.")] = None
    n_active_seeds: Annotated[Whole, note("Live seeds.")] = None
    seed_stage: Annotated[Whole, note("Stage number of the seed aimed at.")] = None
    val_acc: Annotated[Real, note("Accuracy that was used, 0 to 100.")] = None
    acc_at_germination: Annotated[Real, note("Accuracy when the seed was born, 0 to 100.")] = None
    host_baseline_acc: Annotated[Real, note("Accuracy with the seed switched off, 0 to 100.")] = None
    growth_ratio: Annotated[
        Real, note("Seed parameters over host parameters; 0 is no growth.", gauge("simic.seed_growth"))
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

    env_id: Annotated[Whole, note("Environment.")] = None
    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None
    summary: Annotated[Reals, note("Reward sums by component.")] = None
    hindsight_credit: Annotated[Real, note("Late credit to seeds that scaffolded others.")] = None
    scaffold_count: Annotated[Whole, note("Scaffolds credited.")] = None
    avg_scaffold_delay: Annotated[Real, note("Mean epochs since the scaffolding.")] = None


@declares(
    "SIMIC_BATCH_STATS",
    domain=Domain.SIMIC,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="batch_stats",
    epoch_field="episodes_completed",
)
class BatchStats(Event, frozen=True, kw_only=True):
    """Summary of a batch, sent even if the policy was not updated."""

    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None
    inner_epoch: Annotated[Whole, note("Last epoch of the episodes.")] = None
    accuracy: Annotated[Real, note("Mean accuracy of the last batches, 0 to 100.")] = None
    host_accuracy: Annotated[
        Real, note("Mean final accuracy of this batch, 0 to 100.", gauge("simic.batch_accuracy"))
    ] = None
    entropy: Annotated[Real, note("Policy entropy of the batch's last update, nats.")] = None
    kl_divergence: Annotated[Real, note("KL of the batch's last update, k3 estimate of the joint, nats.")] = None
    explained_variance: Annotated[Real, note("Explained variance of the critic that played the batch.")] = None
    seeds_created: Annotated[Whole, note("Seeds born in the batch.", gauge("simic.batch_seeds_created"))] = None
    seeds_fossilized: Annotated[
        Whole, note("Seeds made permanent in the batch.", gauge("simic.batch_seeds_fossilized"))
    ] = None
    skipped_update: Annotated[Flag, note("No update changed the policy in this batch.")] = None
    rollback_attempt_count: Annotated[Whole, note("Rollbacks in the batch.")] = None
    rollback_unattributed_count: Annotated[Whole, note("Rollbacks with no step to blame.")] = None
