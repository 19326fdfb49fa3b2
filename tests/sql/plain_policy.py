"""The part of :mod:`tests.sql.plain_python` about the policy: decisions, rewards, updates, the mix of actions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
HEADS = ("op", "slot", "blueprint", "style", "tempo", "alpha_target", "alpha_speed", "alpha_curve", "value", "q")
OPS = ("WAIT", "GERMINATE", "SET_ALPHA_TARGET", "PRUNE", "FOSSILIZE", "ADVANCE")
COMPONENTS = (
    *("bounded_attribution", "ratio_penalty", "escrow_delta", "escrow_forfeit", "compute_rent", "alpha_shock"),
    *("blending_warning", "holding_warning", "stage_bonus", "pbrs_bonus", "synergy_bonus", "action_shaping"),
    *("terminal_bonus", "fossilize_terminal_bonus", "hindsight_credit", "occupancy_rent", "fossilized_rent"),
)
UNMEASURED = {
    "amp_overflow_detected": False,
    "cuda_memory_allocated_gb": 0.0,
    "cuda_memory_reserved_gb": 0.0,
    "cuda_memory_peak_gb": 0.0,
    "cuda_memory_fragmentation": 0.0,
    "entropy_loss": 0.0,
}
"""What esper-lite's update says without having measured it."""


def identity(data: Row) -> Row:
    return {name: data[name] for name in ("env_id", "episode_idx", "inner_epoch") if name in data}


def last_action(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    inner = ("reward_components", "observation_stats", "head_telemetry", "kind")
    row = {name: value for name, value in data.items() if name not in inner}
    row["decision_entropy"] = float(row["decision_entropy"])  # esper-lite prints this one as text
    heads: dict[str, Row] = defaultdict(dict)
    for head in HEADS:
        if f"{head}_masked" in row:
            heads[head]["head_forced"] = row[f"{head}_masked"]
        spelled = "curve" if head == "alpha_curve" else head
        for old, new in (("confidence", "head_confidence"), ("entropy", "head_choice_entropy")):
            value = (data.get("head_telemetry") or {}).get(f"{spelled}_{old}")
            if value is not None:
                row[f"head_{head}_{old}"] = heads[head][new] = value
    maps = {name: {h: v[name] for h, v in heads.items() if name in v} for name in _names(heads)}
    yield "decisions", row | maps
    for head, figures in heads.items():
        also = {name: data[name] for name in ("action_name", "device") if name in data}
        yield "decisions_by_head", {**identity(data), **also, "head": head, **figures}
    if data.get("reward_components"):
        yield from _reward(data, data["reward_components"])
    if data.get("observation_stats"):
        yield "tamiyo_observation_stats", {**identity(data), **data["observation_stats"]}


def _names(entries: dict[str, Row]) -> set[str]:
    return {name for figures in entries.values() for name in figures}


def _reward(data: Row, inside: Row) -> Iterator[tuple[str, Row]]:
    row = {name: value for name, value in inside.items() if value is not None}
    signs = {"occupancy_rent": -1.0, "fossilized_rent": -1.0}  # stored positive, subtracted from the sum
    parts = {name: row.pop(name) * signs.get(name, 1.0) for name in COMPONENTS if name in row}
    yield "rewards", {**identity(data), **row, **parts, "components": parts}
    for name, value in parts.items():
        also = {"action_name": row["action_name"]} if "action_name" in row else {}
        yield "rewards_by_component", {**identity(data), **also, "component": name, "components": value}


def update(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    row = {k: v for k, v in data.items() if k not in ("skipped", "update_skipped") and UNMEASURED.get(k, ...) != v}
    if row["grad_norm"] == row["pre_clip_grad_norm"]:
        del row["grad_norm"]  # the norm after clipping is not reported
    row["episodes_completed"] = line["epoch"]
    flat = {name: row.pop(name) for name in list(row) if name.startswith("head_") or _cell_of(name)}
    row["value_target_correlation"] = row.pop("v_return_correlation")
    for name in ("op_q_values", "op_valid_mask"):
        row[name] = dict(zip(OPS, row[name], strict=True))
    who = {name: row[name] for name in ("batch", "episodes_completed", "inner_epoch")}
    heads, cells = _by_head(flat), _by_cell(flat)
    maps = {
        name: {key: v[name] for key, v in each.items() if name in v} for each in (heads, cells) for name in _names(each)
    }
    columns = {name: value for name, value in flat.items() if not isinstance(value, dict)}
    yield "tamiyo_updates", row | maps
    lists = {name: list(row[name].values()) for name in ("op_q_values", "op_valid_mask")}
    yield "ppo_updates", row | maps | columns | lists | {"v_return_correlation": row["value_target_correlation"]}
    for head, figures in heads.items():
        yield "tamiyo_updates_by_head", {**who, "head": head, **figures}
    for cell, figures in cells.items():
        yield "tamiyo_updates_by_cell", {**who, "cell": cell, **figures}
    for op in OPS:
        figures = {name: row[name][op] for name in ("op_q_values", "op_valid_mask")}
        yield "tamiyo_updates_by_op", {**who, "op": op, **figures}


def _cell_of(name: str) -> str | None:
    """``h`` or ``c`` for the columns of the recurrent state."""
    for cell in ("h", "c"):
        if name.startswith((f"lstm_{cell}_", f"rollout_lstm_{cell}_")):
            return cell
    return None


def _by_head(flat: Row) -> dict[str, Row]:
    heads: dict[str, Row] = defaultdict(dict)
    for name, value in flat.items():
        if isinstance(value, dict):
            for head, item in value.items():
                heads[head][name] = item
        elif name.startswith("head_"):
            head = max((h for h in HEADS if name.startswith(f"head_{h}_")), key=len)
            heads[head]["head_" + name.removeprefix(f"head_{head}_")] = value
    return heads


def _by_cell(flat: Row) -> dict[str, Row]:
    cells: dict[str, Row] = defaultdict(dict)
    for name, value in flat.items():
        cell = _cell_of(name)
        if cell:
            cells[cell][name.replace(f"lstm_{cell}_", "lstm_")] = value
    return cells


def actions(line: Row, data: Row) -> Iterator[tuple[str, Row]]:
    who = {"episodes_completed": line["epoch"]}
    maps = {name: data[name] for name in ("action_counts", "success_counts") if name in data}
    yield "action_distributions", who | maps
    total = sum(data["action_counts"].values())
    for op, count in data["action_counts"].items():
        more = {"success_count": data["success_counts"][op]} if "success_counts" in data else {}
        yield "action_distribution", {**who, "action_name": op, "count": count, "pct": count / total, **more}
        figures = {name: values[op] for name, values in maps.items() if op in values}
        yield "action_distributions_by_op", {**who, "op": op, **figures}
