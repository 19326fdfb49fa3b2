"""Panels of the fields that the plan's Appendix G ranks in three tiers."""

from __future__ import annotations

from typing import Final

from grafana.parity.row import ParityRow


def _tier(tier: int, name: str, *homes: str, shows: tuple[str, ...] = (), awaits: tuple[str, ...] = ()) -> ParityRow:
    return ParityRow(section=f"Tier {tier} of the plan", name=name, homes=homes, shows=shows, awaits=awaits)


TIERS: Final = (
    _tier(1, "task_name", "run/configuration", shows=("TRAINING_STARTED",)),
    _tier(1, "current_episode", "run/position", shows=("tolaria.current_episode",)),
    _tier(1, "current_epoch", "run/position", shows=("tolaria.inner_epoch",)),
    _tier(1, "max_epochs", "run/sizes", shows=("simic.max_epochs",)),
    _tier(
        1,
        "val_accuracy",
        "run/environments",
        "run/accuracy",
        "tolaria/accuracy",
        "tolaria/environments",
        shows=("tolaria.val_accuracy",),
    ),
    _tier(
        1,
        "val_loss",
        "run/environments",
        "tolaria/loss",
        "tolaria/environments",
        shows=("tolaria.val_loss",),
    ),
    _tier(1, "policy_loss", "tamiyo/losses", shows=("tamiyo.policy_loss",)),
    _tier(1, "value_loss", "tamiyo/losses", shows=("tamiyo.value_loss",)),
    _tier(1, "entropy", "tamiyo/entropy", shows=("tamiyo.entropy",)),
    _tier(1, "kl_divergence", "tamiyo/kl", shows=("tamiyo.kl_divergence",)),
    _tier(
        1,
        "seed.stage",
        "kasmina/stages",
        "kasmina/seeds",
        shows=("kasmina.seed_state",),
    ),
    _tier(
        1,
        "seed.blueprint_id",
        "kasmina/seeds",
        "kasmina/blueprints",
        shows=(
            "kasmina.seed_blueprint",
            "kasmina.germinations",
        ),
    ),
    _tier(
        1,
        "seed.alpha",
        "kasmina/alpha",
        "kasmina/seeds",
        shows=("kasmina.seed_alpha",),
    ),
    _tier(2, "grad_norm", "tamiyo/grad_norm", shows=("tamiyo.grad_norm", "tamiyo.pre_clip_grad_norm")),
    _tier(2, "clip_fraction", "tamiyo/clipping", shows=("tamiyo.clip_fraction",)),
    _tier(2, "explained_variance", "tamiyo/critic_fit", shows=("tamiyo.explained_variance",)),
    _tier(2, "head_*_entropy", "tamiyo/heads", "tamiyo/head_entropy", shows=("tamiyo.head_entropy",)),
    _tier(2, "head_*_grad_norm", "tamiyo/heads", "tamiyo/head_grad_norm", shows=("tamiyo.head_grad_norm",)),
    _tier(2, "dead_layers", "tamiyo/gradient_health", shows=("tamiyo.dead_layers",)),
    _tier(2, "exploding_layers", "tamiyo/gradient_health", shows=("tamiyo.exploding_layers",)),
    _tier(2, "entropy_collapsed", "tamiyo/entropy", shows=("tamiyo.entropy_collapsed",)),
    _tier(2, "advantage_mean", "tamiyo/distribution", shows=("tamiyo.advantage_mean",)),
    _tier(2, "advantage_std", "tamiyo/distribution", shows=("tamiyo.advantage_std",)),
    _tier(2, "ratio_max", "tamiyo/ratio", shows=("tamiyo.policy_ratio_max",)),
    _tier(3, "log_prob_min", "tamiyo/distribution", shows=("tamiyo.log_prob_min",)),
    _tier(3, "log_prob_max", "tamiyo/distribution", shows=("tamiyo.log_prob_max",)),
    _tier(3, "head_*_ratio_max", "tamiyo/heads", shows=("tamiyo.head_policy_ratio_max",)),
    _tier(3, "q_germinate, q_advance, …", "tamiyo/q_values", shows=("tamiyo.op_q_values",)),
    _tier(
        3,
        "counterfactual_matrix",
        "simic/counterfactuals",
        shows=("COUNTERFACTUAL_MATRIX_COMPUTED",),
    ),
    _tier(
        3,
        "shapley_values",
        "simic/shapley",
        "simic/shapley_table",
        shows=(
            "simic.shapley_value",
            "simic.shapley_std",
            "simic.shapley_interaction_spread",
        ),
    ),
)
