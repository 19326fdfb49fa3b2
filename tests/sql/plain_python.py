"""What the views must hold, worked out in plain Python from the raw lines of a recording, without any of our code.

The one place that says by hand how esper-lite's names and habits map to columns.
"""

from __future__ import annotations

import gzip
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from tests.sql.plain_policy import Row, actions, identity, last_action, update

ENVELOPE = ("group_id", "timestamp", "event_id", "severity", "message", "rank")


def lines_of(recording: Path) -> list[Row]:
    """The lines; Python's json module takes bare NaN tokens."""
    with gzip.open(recording, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def views_of(lines: list[Row]) -> dict[str, list[Row]]:
    """Rows of every view that a recording has rows for."""
    views: dict[str, list[Row]] = defaultdict(list)
    for line in lines:
        views["raw_events"].append(_raw(line))
        data = {name: value for name, value in (line["data"] or {}).items() if value is not None}
        key = line["event_type"] if "kind" not in data else data["kind"]
        for view, row in READERS[key](line, data):
            views[view].append(_envelope(line) | row)
    _add_batch_numbers(views)
    views["reward_calibration"] = list(_calibration(views["episode_outcomes"]))
    return dict(views)


def _envelope(line: Row) -> Row:
    when = datetime.fromisoformat(line["timestamp"])
    return {
        "group_id": line["group_id"],
        "timestamp": when.replace(tzinfo=None),
        "event_id": line["event_id"],
        "severity": line["severity"],
        "message": line["message"],
        "rank": 0,
    }


def _raw(line: Row) -> Row:
    named = {name: line[name] for name in ("event_type", "seed_id", "slot_id", "epoch") if line[name] is not None}
    action = (line["data"] or {}).get("action_id")
    if line["epoch"] is None and action:
        named["epoch"] = int(action.split("-e")[1].split("-")[0])
    return _envelope(line) | named


Reader = Callable[[Row, Row], Iterator[tuple[str, Row]]]


def _as_it_stands(view: str, *also: str) -> Reader:
    def read(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
        for name in (view, *also):
            yield name, data

    return read


def _anomaly(view: str, event_type: str, *, confounds: bool = True) -> Reader:
    def read(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
        yield view, data
        yield "anomalies", {"event_type": event_type, **data}
        if confounds:
            fields = ("env_id", "anomaly_type", "episode", "batch", "inner_epoch", "total_episodes", "detail")
            row = {name: data[name] for name in fields if name in data}
            detail = row.setdefault("detail", _detail(event_type, data) or line["message"])
            yield "run_confounders", {**row, "event_type": event_type, "detail": detail, "proof_blocking": True}

    return read


def _detail(event_type: str, data: Row) -> str | None:
    if event_type == "TOLARIA_ROLLBACK":
        return f"{data['panic_reason']}: {data['reason']}"
    if event_type == "PERFORMANCE_DEGRADATION":
        against = f"{_short(data['current_acc'])} against {_short(data['rolling_avg_acc'])}"
        return f"accuracy {against}, drop {_short(data['drop_percent'])} %"
    return None


def _short(value: float) -> str:
    return str(round(value, 2))


def _degradation(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    mean = {name: value for name, value in data.items() if name != "env_id"}  # it is always 0 and means all of them
    yield from _anomaly("performance_degradation", "PERFORMANCE_DEGRADATION")(line, mean)


def _trend(view: str, event_type: str) -> Reader:
    def read(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
        yield view, data
        yield "trends", {"event_type": event_type, **data}
        if event_type == "PLATEAU_DETECTED":
            yield "anomalies", {"event_type": event_type, **data}

    return read


def _seed(view: str) -> Reader:
    def read(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
        row = {"seed_id": line["seed_id"], "epoch": line["epoch"], **data}
        is_untrained = view == "seed_germinated" or data.get("from_stage") == "GERMINATED"
        if is_untrained:  # it has no gradients yet
            row = {k: v for k, v in row.items() if k not in ("grad_ratio", "has_vanishing", "has_exploding")}
        if row.get("reason") == "":
            del row["reason"]
        yield view, row
        if view != "gates":
            yield "seed_lifecycle", {"event_type": view.upper(), **row}

    return read


def _start(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    row = {name: value for name, value in data.items() if name != "amp_enabled" or value is True}
    if row.get("resume_path") == "":
        del row["resume_path"]
    yield "training_starts", row
    yield "runs", {**row, "started_at": _envelope(line)["timestamp"]}


def _epoch(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    row = {name: value for name, value in data.items() if name not in ("seeds", "observation_stats")}
    for old, new in (("train_loss", "host_train_loss"), ("host_grad_norm", "host_grad_norm_pre_clip")):
        if old in row:
            row[new] = row[old]
    slots = {slot: _slot(seed) for slot, seed in (data.get("seeds") or {}).items()}
    seeds = {"seeds": slots} if data.get("seeds") is not None else {}
    old_names = {name: row.pop(name) for name in ("train_loss", "host_grad_norm") if name in row}
    yield "tolaria_epochs", row | seeds
    yield "epochs", row | seeds | old_names | {"epoch": data["inner_epoch"]}
    for slot, seed in slots.items():
        yield "tolaria_epochs_by_slot", {**identity(data), "slot": slot, **seed}
    if data.get("observation_stats"):
        yield "tamiyo_observation_stats", {**identity(data), **data["observation_stats"]}


def _slot(seed: Row) -> Row:
    kept = {name: value for name, value in seed.items() if value is not None}
    flags = ("grad_ratio", "has_vanishing", "has_exploding")
    if not any(kept.get(name) for name in flags):  # zero without a flag: the gradients were not looked at
        kept = {name: value for name, value in kept.items() if name not in flags}
    if not kept.get("alpha"):  # without weight the contribution of a seed is not measured
        unmeasured = ("contribution_velocity", "interaction_sum", "boost_received")
        kept = {name: value for name, value in kept.items() if name not in unmeasured or value != 0.0}
    if "grad_ratio" in kept:
        kept["gradient_health"] = kept.pop("grad_ratio")
    return kept


def _batch(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    row = {
        name: value
        for name, value in data.items()
        if data.get("requested_episodes") != 0 or name != "requested_episodes"
    }
    if "requested_episodes" not in row and row.get("start_episode") == 0:
        del row["start_episode"]
    yield "tolaria_batches", row
    yield "batch_epochs", row


def _batch_stats(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    yield "batch_stats", {name: value for name, value in data.items() if name != "kind"}
    if data.get("skipped_update"):
        row = {"reason": "unspecified", "batch": data["batch"], "episodes_completed": data["episodes_completed"]}
        yield "tamiyo_update_skipped", row
        yield "anomalies", {"event_type": "TAMIYO_UPDATE_SKIPPED", **row}


def _add_batch_numbers(views: dict[str, list[Row]]) -> None:
    numbers = {(row["group_id"], row["episodes_completed"]): row["batch_idx"] for row in views["tolaria_batches"]}
    for row in views["action_distribution"]:
        row["batch_idx"] = numbers[row["group_id"], row["episodes_completed"]]


def _profile(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    row = {**data, "batch_idx": data["batch_idx"] + 1}  # the only event in a recording that counts from 0
    yield "phase_profiles", row
    for phase, figures in data["phases"].items():
        who = {"epoch": data["epoch"], "batch_idx": row["batch_idx"]}
        yield "phase_profiles_by_phase", {**who, "phase": phase, **figures}
        yield "phase_occupancy", {**who, "phase_name": phase, **figures}


def _shapley(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    row = {name: value for name, value in data.items() if name != "kind"}
    yield "shapley_computed", row
    for slot, figures in data["shapley_values"].items():
        who = {name: row[name] for name in ("env_id", "episode_idx", "batch") if name in row}
        yield "shapley_computed_by_slot", {**who, "slot": slot, **figures}


def _causal(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    yield "morphology_causal_log", data if line["epoch"] is None else {**data, "inner_epoch": line["epoch"]}


def _calibration(outcomes: list[Row]) -> Iterator[Row]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in outcomes:
        groups[row["group_id"], row["reward_mode"]].append(row)
    for (group, mode), rows in groups.items():
        accuracy, reward = ([row[name] for row in rows] for name in ("final_accuracy", "episode_reward"))
        figures: Row = {}
        for name, values in (("accuracy", accuracy), ("reward", reward)):
            figures |= {f"mean_{name}": math.fsum(values) / len(values), f"std_{name}": statistics.stdev(values)}
            figures |= {f"min_{name}": min(values), f"max_{name}": max(values)}
        r = statistics.correlation(accuracy, reward)
        word = "well_calibrated" if r >= 0.7 else "moderate" if r >= 0.3 else "weak" if r >= 0 else "inverted"
        more = {"n_episodes": len(rows), "reward_accuracy_correlation": r, "calibration_status": word}
        yield {"group_id": group, "reward_mode": mode, **figures, **more}


READERS: dict[str, Reader] = {
    "TRAINING_STARTED": _start,
    "EPOCH_COMPLETED": _epoch,
    "BATCH_EPOCH_COMPLETED": _batch,
    "PPO_UPDATE_COMPLETED": update,
    "PHASE_PROFILE_COMPLETED": _profile,
    "EPISODE_OUTCOME": _as_it_stands("episode_outcomes"),
    "TAMIYO_INITIATED": _as_it_stands("tamiyo_initiated"),
    "MORPHOLOGY_CAUSAL_LOG": _causal,
    "SEED_GERMINATED": _seed("seed_germinated"),
    "SEED_STAGE_CHANGED": _seed("seed_stage_changed"),
    "SEED_PRUNED": _seed("seed_pruned"),
    "SEED_FOSSILIZED": _seed("seed_fossilized"),
    "SEED_GATE_EVALUATED": _seed("gates"),
    "GOVERNOR_ROLLBACK": _anomaly("rollbacks", "TOLARIA_ROLLBACK"),
    "GRADIENT_ANOMALY": _anomaly("gradient_anomaly", "GRADIENT_ANOMALY"),
    "GRADIENT_PATHOLOGY_DETECTED": _anomaly("gradient_pathology_detected", "GRADIENT_PATHOLOGY_DETECTED"),
    "PERFORMANCE_DEGRADATION": _degradation,
    "PLATEAU_DETECTED": _trend("plateau_detected", "PLATEAU_DETECTED"),
    "IMPROVEMENT_DETECTED": _trend("improvement_detected", "IMPROVEMENT_DETECTED"),
    "last_action": last_action,
    "action_distribution": actions,
    "batch_stats": _batch_stats,
    "shapley_computed": _shapley,
}
