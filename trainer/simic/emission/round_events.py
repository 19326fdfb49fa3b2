"""Events of episodes and rounds: the start, outcomes, attribution, anomalies, trends, summaries."""

from __future__ import annotations

from typing import Any, Final

from esper_otel.events import (
    ActionDistribution,
    BatchCompleted,
    BatchStats,
    CounterfactualMatrix,
    DegradationDetected,
    EpisodeOutcome,
    Event,
    GradientAnomaly,
    GradientPathology,
    ImprovementDetected,
    MaskHitRates,
    NumericalInstability,
    PerformanceDegradation,
    PhaseProfile,
    PhaseTiming,
    PlateauDetected,
    RatioCollapse,
    RatioExplosion,
    RewardSummary,
    SeedConfiguration,
    ShapleyComputed,
    ShapleyValue,
    Throughput,
    TrainingStarted,
    ValueCollapse,
)
from trainer.recipes import Recipe
from trainer.simic import detectors
from trainer.simic.emission.step_events import contributing
from trainer.simic.observer import EpisodeEnd, RoundEnd, Start
from trainer.tolaria.phases import PhaseTime

SUCCESS_ACCURACY: Final = 80.0
"""Validation accuracy in percent at which an episode counts as a success, as in esper-lite."""

PROFILED: Final = ("train", "val", "rollout", "action", "ppo_update", "counterfactual")
"""Phases of a profile; forward, backward and optimiser are parts of train and stand in the epoch's event."""

_ANOMALY_EVENTS: Final[dict[str, type[Any]]] = {
    "ratio_explosion": RatioExplosion,
    "ratio_collapse": RatioCollapse,
    "value_collapse": ValueCollapse,
    "numerical_instability": NumericalInstability,
    "gradient_norm_drift": GradientPathology,
    "gradient_health_drift": GradientPathology,
}
_TREND_EVENTS: Final[dict[str, type[Any]]] = {
    "plateau": PlateauDetected,
    "degradation": DegradationDetected,
    "improvement": ImprovementDetected,
}


def training_started(start: Start) -> Event:
    """The configuration of the run, or of one arm of it."""
    recipe = start.recipe
    host, ppo = recipe.environment.host, recipe.ppo
    is_cuda = recipe.device.startswith("cuda")
    return TrainingStarted(
        task="digits",
        n_envs=recipe.envs,
        max_epochs=recipe.environment.episode_length,
        max_batches=recipe.rounds,
        n_episodes=recipe.total_episodes,
        host_params=start.host_params,
        param_budget=recipe.environment.param_budget,
        slot_ids=start.slot_ids,
        seed=recipe.seed,
        lr=ppo.lr,
        clip_ratio=ppo.clip,
        max_grad_norm=ppo.max_grad_norm,
        entropy_coef=ppo.entropy_coef,
        entropy_anneal={
            "start": ppo.entropy_coef,
            "end": ppo.entropy_coef_end,
            "episodes": float(recipe.total_episodes),
        },
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        ppo_updates_per_batch=ppo.updates,
        policy_device=recipe.device,
        env_devices=(recipe.device,),
        reward_mode=recipe.reward_mode,
        episode_id=f"ppo_{recipe.seed}_{recipe.total_episodes}ep",
        resume_path=start.resume_path,
        start_episode=start.start_episode,
        world_size=start.world_size,
        rank=start.rank,
        local_rank=start.local_rank,
        amp_enabled=host.amp,
        amp_dtype=("float16" if is_cuda else "bfloat16") if host.amp else None,
        compile_enabled=host.compile,
        compile_backend="inductor" if host.compile else None,
    )


def phase_profile(batch: int, epoch: int, phases: dict[str, PhaseTime]) -> Event:
    """Event with the time by phase, summed over environments."""
    timings = {
        name: PhaseTiming(
            wall_ms=spent.wall_s * 1e3,
            python_cpu_ms=spent.cpu_s * 1e3,
            python_cpu_ratio=min(1.0, spent.cpu_s / spent.wall_s) if spent.wall_s > 0.0 else None,
        )
        for name, spent in phases.items()
        if name in PROFILED
    }
    return PhaseProfile(phases=timings, epoch=epoch, batch_idx=batch)


def attribution(batch: int, end: EpisodeEnd) -> list[Event]:
    """Counterfactual matrix and Shapley values of an episode that ended with blended seeds."""
    matrix, env = end.matrix, end.env
    if matrix is None:
        return []
    where: dict[str, Any] = {"env_id": env.env_id, "episode_idx": env.episode_idx}
    configs = tuple(
        SeedConfiguration(seed_mask=tuple(slot_id in on for slot_id in matrix.slot_ids), accuracy=accuracy)
        for on, accuracy in matrix.accuracies.items()
    )
    events: list[Event] = [
        CounterfactualMatrix(
            **where,
            inner_epoch=env.inner_epoch,
            slot_ids=matrix.slot_ids,
            configs=configs,
            strategy=matrix.strategy,
            compute_time_ms=matrix.duration_s * 1e3,
        )
    ]
    if end.shapley:
        values = {
            slot_id: ShapleyValue(
                mean=value.mean,
                std=0.0,  # Every subset was evaluated: nothing was estimated.
                interaction_spread=value.interaction_spread,
                n_samples=value.n_samples,
            )
            for slot_id, value in end.shapley.items()
        }
        events.append(ShapleyComputed(**where, batch=batch, num_slots=len(values), shapley_values=values))
    return events


def episode_outcome(end: EpisodeEnd, reward_mode: str) -> Event:
    """Outcome of an episode. ``stability_score`` is 1 / (1 + variance of its last ten rewards)."""
    env = end.env
    recent = end.rewards[-10:]
    mean = sum(recent) / len(recent)
    variance = sum((reward - mean) ** 2 for reward in recent) / len(recent)
    return EpisodeOutcome(
        env_id=env.env_id,
        episode_idx=env.episode_idx,
        final_accuracy=env.val_accuracy,
        param_ratio=1.0 + env.host.seed_parameter_count / env.host.parameter_count,
        num_fossilized=len(env.fossilized),
        num_contributing_fossilized=contributing(env),
        episode_reward=sum(end.rewards),
        stability_score=1.0 / (1.0 + variance),
        reward_mode=reward_mode,
        episode_length=len(end.rewards),
        outcome_type="success" if env.val_accuracy >= SUCCESS_ACCURACY else "timeout",
        germinate_count=end.op_counts["GERMINATE"],
        prune_count=end.op_counts["PRUNE"],
        fossilize_count=end.op_counts["FOSSILIZE"],
    )


def findings(end: RoundEnd) -> list[Event]:
    """Anomalies and trends of a round."""
    events: list[Event] = [
        _ANOMALY_EVENTS.get(anomaly.kind, GradientAnomaly)(
            anomaly_type=anomaly.kind,
            episode=end.episodes_completed,
            batch=end.batch,
            total_episodes=end.total_episodes,
            value=anomaly.value,
            threshold=anomaly.threshold,
            detail=anomaly.detail,
            **anomaly.evidence,
        )
        for anomaly in end.anomalies
    ]
    if end.trend is not None:
        events.append(
            _TREND_EVENTS[end.trend.kind](
                batch_idx=end.batch,
                episodes_completed=end.episodes_completed,
                rolling_delta=end.trend.delta,
                rolling_avg_accuracy=end.trend.now,
                prev_rolling_avg_accuracy=end.trend.before,
            )
        )
    if end.drop_percent is not None:
        events.append(
            PerformanceDegradation(
                current_acc=_mean(end.accuracies),
                rolling_avg_acc=end.rolling_before,
                drop_percent=end.drop_percent,
                threshold_percent=detectors.DROP_PERCENT,
                training_progress=end.episodes_completed / end.total_episodes,
            )
        )
    return events


def summaries(end: RoundEnd, recipe: Recipe, start_episode: int) -> list[Event]:
    """The round in numbers, of this rank's environments; its end, TOLARIA_BATCH_COMPLETED, comes last."""
    where: dict[str, Any] = {"batch": end.batch, "episodes_completed": end.episodes_completed}
    steps = len(end.rewards) * recipe.environment.episode_length
    last = end.learn.updates[-1].values if end.learn.updates else {}
    learn = {"ppo_update": end.learn_phase} | {k: v for k, v in end.phases.items() if k == "counterfactual"}
    return [
        phase_profile(end.batch, recipe.environment.episode_length, learn),
        BatchStats(
            **where,
            inner_epoch=recipe.environment.episode_length,
            accuracy=end.rolling_accuracy,
            host_accuracy=_mean(end.accuracies),
            entropy=last.get("entropy"),
            kl_divergence=last.get("kl_divergence"),
            explained_variance=last.get("explained_variance"),
            seeds_created=end.seeds_created,
            seeds_fossilized=end.seeds_fossilized,
            skipped_update=not end.learn.updates,
            rollback_attempt_count=end.rollbacks,
            rollback_unattributed_count=0,
        ),
        ActionDistribution(**where, action_counts=end.op_counts, success_counts=end.op_successes),
        MaskHitRates(**where, mask_hits=end.mask_hits, mask_total=end.mask_total),
        RewardSummary(**where, summary=end.reward_sums),
        Throughput(
            **where,
            fps=steps / end.rollout_s,
            step_time_ms=end.rollout_s / steps * 1e3,
            dataloader_wait_ms=end.phases["data_transfer"].wall_s / steps * 1e3,
        ),
        BatchCompleted(
            batch_idx=end.batch,
            episodes_completed=end.episodes_completed,
            total_episodes=end.total_episodes,
            n_envs=len(end.accuracies),
            avg_accuracy=_mean(end.accuracies),
            avg_reward=_mean(end.rewards),
            rolling_accuracy=end.rolling_accuracy,
            env_accuracies=end.accuracies,
            start_episode=start_episode,
            requested_episodes=end.total_episodes,
            batch_time_ms=end.duration_s * 1e3,
        ),
    ]


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)
