"""Numbers of runs that no trainer makes on demand: two arms, and a policy that has stopped choosing."""

from __future__ import annotations

from typing import Final

Gauges = dict[tuple[str, str], float]

ADDENDS: Final = {"bounded_attribution": 0.05, "compute_rent": -0.08, "alpha_shock": -0.0006}
REWARDS: Final = {"A": 3.03, "B": 7.12}
MODES: Final = {"A": "shaped", "B": "sparse"}
Q_VALUES: Final = {"WAIT": -2.0, "GERMINATE": 1.0}
ACTIONS: Final = {"A": 4.0, "B": 8.0, "C": 9.0}
HEADS: Final = ("op", "slot", "blueprint")


def _labels(group: str = "default", **more: str) -> str:
    return ",".join(f'{name}="{value}"' for name, value in {"group_id": group, **more}.items())


ARMS: Final[Gauges] = {
    **{("simic.reward_component", _labels(component=name, env_id="0")): value for name, value in ADDENDS.items()},
    ("simic.step_reward", _labels(env_id="0")): sum(ADDENDS.values()),
    **{("tolaria.avg_reward", _labels(arm)): value for arm, value in REWARDS.items()},
    **{("esper.run.info", _labels(arm, reward_mode=mode)): 1.0 for arm, mode in MODES.items()},
    **{("tamiyo.batch_actions", _labels(arm, op="WAIT")): value for arm, value in ACTIONS.items()},
    **{("tamiyo.op_q_values", _labels(op=op)): value for op, value in Q_VALUES.items()},
}

COLLAPSED: Final[Gauges] = {
    **dict.fromkeys(
        [
            ("tamiyo.entropy", _labels()),
            ("tamiyo.kl_divergence", _labels()),
            ("tamiyo.clip_fraction", _labels()),
            *(("tamiyo.head_entropy", _labels(head=head)) for head in HEADS),
        ],
        0.0,
    ),
    ("tamiyo.policy_determinism", _labels()): 1.0,
}
