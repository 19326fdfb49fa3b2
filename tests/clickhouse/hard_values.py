"""Runs with what recordings of healthy training lack: values at the edge of their types, lost lines, several ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.runs import lives
from tests.runs.lives import line
from tests.sql.made_logs import batch as arm
from tests.sql.made_logs import line as line_of_esper_lite

TEXTS = ("", " ", "\\", "\\n", "'", '"', "%s {x}", "Läufe 漢字 🙂", "line\nbreak\ttab", "nan", "NULL", "\\N")
NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    0,
    -0.0,
    1e-300,
    1.7976931348623157e308,
    0.1,
    1e15,
    12,
    -3.5,
    2.675,
    0.125,
    None,
)
SEEDS = (0, -1, 2**63 - 1, 2**63, 2**64, -(2**64), 2**127 - 1, -(2**127), 2**127, 10**80, None)
TIMES = ("1969-12-31T23:59:59.999999+00:00", "2026-03-29T02:30:00.000001+02:00", "1900-01-01T00:00:00+00:00", None)


def written(directory: Path) -> list[Path]:
    """The runs."""
    return [_values(directory / "values"), _lives(directory), _arms(directory / "arms"), _lost(directory / "lost")]


def _values(run: Path) -> Path:
    return lives.append(run, *_lines())


def _lines() -> Iterator[bytes]:
    number = 0

    def next_line(event_type: str, **data: object) -> bytes:
        nonlocal number
        number += 1
        return line(number, event_type, **data)

    for seed in SEEDS:
        yield next_line("TRAINING_STARTED", seed=seed, slot_ids=[], env_devices=["cpu", None])
    for text in TEXTS:
        yield next_line("SEED_PRUNED", reason=text, slot_id=text)
        yield next_line("TAMIYO_POLICY_UPDATE", head_entropy={text: 1.5, "op": None}, grad_nan_layers=[text])
    for value in NUMBERS:
        yield next_line("TAMIYO_POLICY_UPDATE", policy_loss=value, head_entropy={"op": value}, head_kl={})
        yield next_line(
            "PERFORMANCE_DEGRADATION", current_acc=_plain(value), rolling_avg_acc=1.005, drop_percent=99.995
        )
        yield next_line(
            "REWARD_HACKING_SUSPECTED",
            pattern="p",
            slot_id="r0c0",
            seed_contribution=_plain(value),
            total_improvement=3,
        )
        yield next_line("TOLARIA_BATCH_COMPLETED", avg_reward=value, env_accuracies=[value, 1])
    for stated in ({}, {"mean": 1.0}, {"mean": "NaN", "std": None, "n_samples": 3}, None):
        yield next_line("SIMIC_SHAPLEY_COMPUTED", shapley_values={"r0c0": stated, "r1c1": {"std": 2.5}})
    yield next_line("TOLARIA_PHASE_DURATIONS", durations_s={"forward": [0.5, None, "NaN"], "backward": []})
    yield next_line(
        "COUNTERFACTUAL_MATRIX_COMPUTED", configs=[{"seed_mask": [True, False], "accuracy": 1.0}, {"seed_mask": []}]
    )
    yield next_line("GRADIENT_ANOMALY", gradient_stats={"a": [1, {"b": None}]}, detail=None)
    yield next_line("TOLARIA_ROLLBACK", reason="it fell", panic_reason=None)
    for at in TIMES:
        whole = json.loads(next_line("TAMIYO_INITIATED", env_id=1))
        yield json.dumps(whole | {"timestamp": at}).encode() + b"\n"


def _plain(value: object) -> object:
    """A number whose text has no exponent, which the engines write differently."""
    return 1.5 if isinstance(value, float) and value and not 1e-4 <= abs(value) < 1e16 else value


def _lives(directory: Path) -> Path:
    run = directory / "continued"
    lives.append(run, lives.started(1, lr=0.1), lives.ended(9, "failed"), lives.ended(20), line(30, "HEARTBEAT"))
    return lives.append(run, line(2, "TRAINING_STARTED", 1, lr=0.2), lives.ended(9, rank=1), rank=1)


def _arms(run: Path) -> Path:
    lines = [*arm(1, "A", 10), *arm(2, "A", 20), *arm(1, "B", 30)]
    empty = {"kind": "action_distribution", "action_counts": {"WAIT": 0, "PRUNE": None}, "success_counts": {"WAIT": 0}}
    lines.append(line_of_esper_lite("ANALYTICS_SNAPSHOT", empty, 40, epoch=99))
    for number, accuracy in enumerate((10.0, 20.0, 30.0, float("nan"))):
        for mode, reward in (("SHAPED", 2.0 * number), ("FLAT", 1.0)):
            figures = {"final_accuracy": accuracy, "episode_reward": reward, "reward_mode": mode, "episode_idx": number}
            lines.append(line_of_esper_lite("EPISODE_OUTCOME", figures, 41 + number, event_id=f"{mode}{number}"))
    one = {"final_accuracy": 1.0, "episode_reward": 2.0, "reward_mode": "ONCE"}
    return lives.append(run, *lines, line_of_esper_lite("EPISODE_OUTCOME", one, 50))


def _lost(run: Path) -> Path:
    declaration = json.dumps({"event_type": "MINE_TOLD", "fields": {}})
    unknown = {"action_id": "env0-e12-x", "reach": 1}
    return lives.append(
        run,
        line(1, "EVENT_DECLARED", declared="MINE_TOLD", declaration=declaration),
        line(2, "MINE_TOLD", x=1),
        line(3, "NOBODY_KNOWS", **unknown),
        line(4, "SEED_PRUNED", action_id="env0-e12-x", env_id="text", nothing=1),
        line(4, "SEED_PRUNED", action_id="env0-e12-x"),
        b"no event\n",
        b'{"torn": ',
    )
