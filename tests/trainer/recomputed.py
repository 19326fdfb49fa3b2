"""The diagnostics of policy updates recomputed from captured tensors: NumPy, double precision, formulas of our own.

Nothing of the trainer's arithmetic is called: the policy's forward pass, advantages, losses and norms are written again
from their definitions. What is taken from the trainer is the meaning of an action: which heads an operation uses.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainer.tamiyo.actions import CAUSAL, HEADS, Op

Array = np.ndarray
Weights = dict[str, Array]

OBSERVATION_CLIP = 5.0


def numpy_of(tree: Any) -> Any:
    """Tensors of a nested structure as arrays, floats in double precision."""
    if isinstance(tree, dict):
        return {key: numpy_of(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [numpy_of(value) for value in tree]
    if not hasattr(tree, "numpy"):
        return tree
    array = tree.numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def log_softmax(logits: Array, allowed: Array | None = None) -> Array:
    if allowed is not None:
        logits = np.where(allowed, logits, -np.inf)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def linear(w: Weights, name: str, x: Array) -> Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def tower(w: Weights, name: str, x: Array) -> Array:
    return np.tanh(linear(w, f"{name}.2", np.tanh(linear(w, f"{name}.0", x))))


def forward(w: Weights, observations: Array, slot_ops: Array, op: Array) -> tuple[dict[str, Array], Array]:
    """Log-probabilities by head [N, choices] (-inf where masked), and values [N]."""
    scores = (observations - w["norm.mean"]) / np.sqrt(w["norm.variance"] + 1e-4)
    x = np.clip(scores, -OBSERVATION_CLIP, OBSERVATION_CLIP)
    trunk = tower(w, "trunk", x)
    told = np.concatenate([trunk, np.eye(len(Op))[op]], 1)
    masks = {"op": slot_ops.any(1), "slot": slot_ops[np.arange(len(op)), :, op]}
    log_probs = {
        head: log_softmax(linear(w, f"heads.{head}", trunk if head == "op" else told), masks.get(head))
        for head in HEADS
    }
    return log_probs, linear(w, "value_head", tower(w, "critic", x))[:, 0]


def causal_of(op: Array) -> Array:
    return np.array([[head in CAUSAL[Op(int(o))] for head in HEADS] for o in op])


def joint(log_probs: dict[str, Array], choices: dict[str, Array], causal: Array) -> Array:
    rows = np.arange(len(causal))
    picked = np.stack([log_probs[head][rows, choices[head]] for head in HEADS], 1)
    return np.where(causal, picked, 0.0).sum(1)


def plogp(p: Array, q: Array) -> Array:
    """Sum of p times q over choices, where p > 0."""
    with np.errstate(invalid="ignore"):
        return np.where(p > 0, p * np.where(np.isfinite(q), q, 0.0), 0.0).sum(1)


def moment(x: Array, power: int) -> float:
    return float(np.mean(((x - x.mean()) / x.std()) ** power))


def gae(rewards: Array, values: Array, gamma: float, lam: float) -> tuple[Array, Array]:
    """Advantages and TD errors [T, N] of episodes that all end with the last step."""
    following = np.concatenate([values[1:], np.zeros((1, values.shape[1]))])
    delta = rewards + gamma * following - values
    steps = len(rewards)
    advantages = np.array(
        [sum((gamma * lam) ** (later - t) * delta[later] for later in range(t, steps)) for t in range(steps)]
    )
    return advantages, delta


class Played:
    """A batch as it was played: own values, log-probabilities, advantages."""

    def __init__(self, batch: Any, settings: Any, envs: int) -> None:
        self.batch = batch
        self.settings = settings
        self.choices = batch["choices"]
        self.op = self.choices["op"]
        self.causal = causal_of(self.op)
        self.old, self.values = forward(batch["weights"], batch["observations"], batch["slot_ops"], self.op)
        advantages, delta = gae(
            batch["rewards"].reshape(-1, envs), self.values.reshape(-1, envs), settings["gamma"], settings["gae_lambda"]
        )
        self.raw, self.delta = advantages.ravel(), delta.ravel()
        self.returns = self.raw + self.values
        self.allowed = {head: np.isfinite(table).sum(1) for head, table in self.old.items()}
        self.is_free = self.allowed["op"] > 1

    def critic(self) -> dict[str, Any]:
        error, returns = self.values - self.returns, self.returns
        return {
            "explained_variance": 1 - error.var() / returns.var(),
            "ev_return_variance": returns.var(),
            "ev_low_return_variance": bool(returns.var() < 1e-3),
            "value_nrmse": math.sqrt(np.mean(error**2)) / returns.std(),
            "value_prediction_error_mean": error.mean(),
            "value_prediction_error_std": error.std(),
            "value_target_correlation": np.corrcoef(self.values, returns)[0, 1],
            "value_mean": self.values.mean(),
            "value_std": self.values.std(),
            "value_min": self.values.min(),
            "value_max": self.values.max(),
            "td_error_mean": self.delta.mean(),
            "td_error_std": self.delta.std(),
            "bellman_error": np.abs(self.delta).mean(),
            "return_mean": returns.mean(),
            "return_std": returns.std(),
            "return_variance": returns.var(),
            "return_skewness": moment(returns, 3),
            "return_p10": np.percentile(returns, 10),
            "return_p50": np.percentile(returns, 50),
            "return_p90": np.percentile(returns, 90),
        }

    def behaviour(self) -> dict[str, Any]:
        """What the policy that acted did; shares of operations are of the steps with a choice."""
        chosen = self.op[self.is_free]
        shares = np.bincount(chosen, minlength=len(Op)) / len(chosen)
        entropy = maximum = 0.0
        for index, head in enumerate(HEADS):
            rows = self.causal[:, index] & (self.allowed[head] > 1)
            entropy -= plogp(np.exp(self.old[head]), self.old[head])[rows].sum()
            maximum += np.log(self.allowed[head][rows]).sum()
        effective = np.where(self.causal, np.stack([self.choices[head] for head in HEADS], 1), -1)
        return {
            "dominant_action_ratio": shares.max(),
            "op_distribution": {op.name: shares[op] for op in Op},
            "forced_step_ratio": 1 - self.is_free.mean(),
            "decision_density": self.is_free.mean(),
            "valid_sample_ratio": self.is_free.mean(),
            "usable_actor_timesteps": int(self.is_free.sum()),
            "policy_determinism": 1 - entropy / maximum,
            "action_diversity": len(np.unique(effective, axis=0)),
        }

    def raw_advantages(self) -> dict[str, Any]:
        return {
            "pre_norm_advantage_mean": self.raw.mean(),
            "pre_norm_advantage_std": self.raw.std(),
            "d5_pre_norm_advantage_std": self.raw[self.is_free].std(),
        }


def used_advantages(played: list[Played], rank: int) -> Array:
    """What the loss of ``rank`` uses: advantages normalised over the rollouts of all ranks."""
    everyone = np.concatenate([each.raw for each in played])
    return (played[rank].raw - everyone.mean()) / max(everyone.std(), 1e-6)


def advantage_fields(used: Array) -> dict[str, Any]:
    return {
        "advantage_mean": used.mean(),
        "advantage_std": used.std(),
        "advantage_skewness": moment(used, 3),
        "advantage_kurtosis": moment(used, 4) - 3,
        "advantage_positive_ratio": np.mean(used > 0),
        "advantage_std_floored": False,
    }


def norm_of(gradients: Weights, prefix: str = "") -> float:
    return math.sqrt(sum((g**2).sum() for name, g in gradients.items() if name.startswith(prefix)))


def gradient_fields(steps: list[Any], limit: float) -> dict[str, Any]:
    before = np.array([norm_of(step["gradients"]) for step in steps])
    first = steps[0]["gradients"]
    layers = {name.rpartition(".")[0]: norm_of(first, name.rpartition(".")[0] + ".") for name in first}
    positive = [norm for norm in layers.values() if norm > 0]
    prefixes = {head: f"heads.{head}." for head in HEADS} | {"value": "value_head."}
    return {
        "pre_clip_grad_norm": before.max(),
        "grad_norm": max(norm_of(step["clipped"]) for step in steps),
        "grad_clip_fraction": np.mean(before > limit),
        "gradient_utilization": before.mean() / limit,
        "gradient_cv": before.std() / before.mean(),
        "head_grad_norm": {
            name: np.mean([norm_of(step["gradients"], prefix) for step in steps]) for name, prefix in prefixes.items()
        },
        "grad_norm_per_layer": layers,
        "grad_norm_ratio": max(positive) / min(positive),
        "grad_zero_fraction": sum((g == 0).sum() for g in first.values()) / sum(g.size for g in first.values()),
    }


def pass_fields(played: Played, update: Any, used: Array) -> dict[str, Any]:
    """Losses, trust region and heads of one pass: each step under the weights before its mini-batch's gradient step."""
    settings, clip, coef = played.settings, played.settings["clip"], update["entropy_coef"]
    n = len(played.op)
    new = {head: np.zeros_like(table) for head, table in played.old.items()}
    policy_losses, value_losses, entropies = [], [], []
    for step in update["steps"]:
        rows, batch = step["rows"], played.batch
        op = played.op[rows]
        log_probs, values = forward(step["weights"], batch["observations"][rows], batch["slot_ops"][rows], op)
        for head, table in log_probs.items():
            new[head][rows] = table
        chosen = {head: chosen[rows] for head, chosen in played.choices.items()}
        old = {head: table[rows] for head, table in played.old.items()}
        causal = played.causal[rows]
        r = np.exp(joint(log_probs, chosen, causal) - joint(old, chosen, causal))
        policy_losses.append(-np.mean(np.minimum(r * used[rows], np.clip(r, 1 - clip, 1 + clip) * used[rows])))
        value_losses.append(0.5 * np.mean((values - played.returns[rows]) ** 2))
        entropy = np.stack([-plogp(np.exp(log_probs[head]), log_probs[head]) for head in HEADS], 1)
        entropies.append(np.mean(np.where(causal, entropy, 0.0).sum(1)))
    log_r = joint(new, played.choices, played.causal) - joint(played.old, played.choices, played.causal)
    r, log_prob = np.exp(log_r), joint(new, played.choices, played.causal)
    assert settings["value_clip"] is None
    assert n == len(np.unique(np.concatenate([step["rows"] for step in update["steps"]])))
    kl = np.mean(r - 1 - log_r)
    worst = max(norm_of(step["gradients"]) for step in update["steps"])
    return {
        "policy_loss": np.mean(policy_losses),
        "value_loss": np.mean(value_losses),
        "entropy": np.mean(entropies),
        "entropy_loss": -coef * np.mean(entropies),
        "entropy_coef": coef,
        "kl_divergence": kl,
        "kl_reverse": np.mean(r * log_r - (r - 1)),
        "trust_region_violations": int(((r > 1 + clip) | (r < 1 - clip)).sum()),
        "clip_fraction": np.mean((r > 1 + clip) | (r < 1 - clip)),
        "clip_fraction_positive": np.mean(r > 1 + clip),
        "clip_fraction_negative": np.mean(r < 1 - clip),
        "ratio_mean": r.mean(),
        "ratio_min": r.min(),
        "ratio_max": r.max(),
        "joint_ratio_max": r.max(),
        "ratio_std": r.std(),
        "log_prob_min": log_prob.min(),
        "log_prob_max": log_prob.max(),
        "log_prob_underflow_count": int((log_prob < -50).sum()),
        "numerical_stability_score": math.exp(-max(kl, 0.0)) / (1 + max(0.0, math.log10(worst / 10))),
        "policy_update_magnitude": norm_of(
            {name: update["after"][name] - update["before"][name] for name in update["steps"][0]["gradients"]}
        ),
        **head_fields(played, new, clip),
    }


def head_fields(played: Played, new: dict[str, Array], clip: float) -> dict[str, Any]:
    fields: dict[str, dict[str, float]] = {
        name: {}
        for name in (
            *("head_kl", "head_entropy", "head_clip_fraction", "head_ratio_max", "head_active_ratio"),
            *("causal_mask_coverage", "head_learnable_fraction"),
        )
    }
    rows, by_step = np.arange(len(played.op)), np.zeros(len(played.op))
    for index, head in enumerate(HEADS):
        uses, allowed, old = played.causal[:, index], played.allowed[head], np.exp(played.old[head])
        free = uses & (allowed > 1)
        kl = plogp(old, played.old[head]) - plogp(old, new[head])
        by_step += np.where(uses, kl, 0.0)
        for name in ("head_active_ratio", "causal_mask_coverage"):
            fields[name][head] = uses.mean()
        fields["head_learnable_fraction"][head] = free.mean()
        if uses.any():
            picked = played.choices[head]
            ratio = np.exp(new[head][rows, picked][uses] - played.old[head][rows, picked][uses])
            fields["head_kl"][head] = kl[uses].mean()
            fields["head_clip_fraction"][head] = np.mean(np.abs(ratio - 1) > clip)
            fields["head_ratio_max"][head] = ratio.max()
        if free.any():
            entropy = -plogp(np.exp(new[head]), new[head])
            fields["head_entropy"][head] = np.mean(entropy[free] / np.log(allowed[free]))
    return {**fields, "approx_kl_max": by_step.max()}


def expected(captures: list[Any], rank: int) -> list[dict[str, Any]]:
    """Every update of ``rank`` in order, from what was captured on all ranks."""
    found = []
    for number in range(len(captures[rank]["batches"])):
        played = [Played(c["batches"][number], c["settings"], c["envs"]) for c in captures]
        used, own = used_advantages(played, rank), played[rank]
        fixed = own.critic() | own.behaviour() | own.raw_advantages() | advantage_fields(used)
        for index, update in enumerate(own.batch["updates"], start=1):
            limit = own.settings["max_grad_norm"]
            found.append(
                {
                    "batch": number + 1,
                    "ppo_update_idx": index,
                    **fixed,
                    **pass_fields(own, update, used),
                    **gradient_fields(update["steps"], limit),
                }
            )
    return found
