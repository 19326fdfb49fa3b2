"""The names under which frameworks log numbers that our events have a field for."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events import EpisodeOutcome, Event, PolicyUpdate


class Tag(msgspec.Struct, frozen=True):
    """A framework's name of a field.

    Attributes:
        framework: the framework.
        name: the tag.
        event: the event that the number belongs to.
        field: its field there.
        scale: factor of the number.
    """

    framework: str
    name: str
    event: type[Event]
    field: str
    scale: float = 1.0


_SB3: Final = "Stable-Baselines3"
_CLEANRL: Final = "CleanRL"
_TRL: Final = "TRL"

TAGS: Final = (
    Tag(_SB3, "train/approx_kl", PolicyUpdate, "kl_divergence"),
    Tag(_SB3, "train/kl_divergence_loss", PolicyUpdate, "kl_divergence"),
    Tag(_SB3, "train/clip_fraction", PolicyUpdate, "clip_fraction"),
    Tag(_SB3, "train/explained_variance", PolicyUpdate, "explained_variance"),
    Tag(_SB3, "train/entropy_loss", PolicyUpdate, "entropy", -1.0),
    Tag(_SB3, "train/ent_coef", PolicyUpdate, "entropy_coef"),
    Tag(_SB3, "train/policy_gradient_loss", PolicyUpdate, "policy_loss"),
    Tag(_SB3, "train/policy_loss", PolicyUpdate, "policy_loss"),
    Tag(_SB3, "train/actor_loss", PolicyUpdate, "policy_loss"),
    Tag(_SB3, "train/value_loss", PolicyUpdate, "value_loss"),
    Tag(_SB3, "train/critic_loss", PolicyUpdate, "value_loss"),
    Tag(_SB3, "train/learning_rate", PolicyUpdate, "lr"),
    Tag(_CLEANRL, "losses/approx_kl", PolicyUpdate, "kl_divergence"),
    Tag(_CLEANRL, "losses/clipfrac", PolicyUpdate, "clip_fraction"),
    Tag(_CLEANRL, "losses/explained_variance", PolicyUpdate, "explained_variance"),
    Tag(_CLEANRL, "losses/entropy", PolicyUpdate, "entropy"),
    Tag(_CLEANRL, "losses/alpha", PolicyUpdate, "entropy_coef"),
    Tag(_CLEANRL, "losses/policy_loss", PolicyUpdate, "policy_loss"),
    Tag(_CLEANRL, "losses/actor_loss", PolicyUpdate, "policy_loss"),
    Tag(_CLEANRL, "losses/value_loss", PolicyUpdate, "value_loss"),
    Tag(_CLEANRL, "losses/qf_loss", PolicyUpdate, "value_loss"),
    Tag(_CLEANRL, "charts/learning_rate", PolicyUpdate, "lr"),
    Tag(_CLEANRL, "charts/episodic_return", EpisodeOutcome, "episode_reward"),
    Tag(_CLEANRL, "charts/episodic_length", EpisodeOutcome, "episode_length"),
    Tag(_TRL, "clip_ratio/region_mean", PolicyUpdate, "clip_fraction"),
    Tag(_TRL, "clip_ratio/low_mean", PolicyUpdate, "clip_fraction_negative"),
    Tag(_TRL, "clip_ratio/high_mean", PolicyUpdate, "clip_fraction_positive"),
    Tag(_TRL, "entropy", PolicyUpdate, "entropy"),
    Tag(_TRL, "entropy_coef", PolicyUpdate, "entropy_coef"),
    Tag(_TRL, "policy_loss", PolicyUpdate, "policy_loss"),
    Tag(_TRL, "loss", PolicyUpdate, "policy_loss"),
    Tag(_TRL, "grad_norm", PolicyUpdate, "pre_clip_grad_norm"),
    Tag(_TRL, "learning_rate", PolicyUpdate, "lr"),
    Tag(_TRL, "policy/approxkl_avg", PolicyUpdate, "kl_divergence"),
    Tag(_TRL, "policy/clipfrac_avg", PolicyUpdate, "clip_fraction"),
    Tag(_TRL, "policy/entropy_avg", PolicyUpdate, "entropy"),
    Tag(_TRL, "loss/policy_avg", PolicyUpdate, "policy_loss"),
    Tag(_TRL, "loss/value_avg", PolicyUpdate, "value_loss"),
    Tag(_TRL, "val/ratio", PolicyUpdate, "ratio_mean"),
    Tag(_TRL, "lr", PolicyUpdate, "lr"),
)
"""The table; every other tag is a :class:`~esper_otel.events.Scalar`."""

BY_NAME: Final = {tag.name: tag for tag in TAGS if tag.framework != _TRL}
"""Names that mean the same wherever they are logged."""

OF_TRL: Final = {tag.name: tag for tag in TAGS if tag.framework == _TRL}
"""Names such as ``loss`` that are of a policy only where its trainer logs them."""

ALONE_NO_EVENT: Final = frozenset({"lr"})
"""Fields that do not show that anything happened: alone they stay scalars."""

WHOLE: Final = frozenset({"episode_length"})
"""Fields that are whole numbers."""
