"""Faults that had an effect, in raw numbers: ``python -m benchmarks.diagnosing.labels out/diagnoses [--half tuning]``.

A label is right only if its fault can be seen in what was recorded, without any rule: a figure of the broken run lies
outside the range that the same figure has in the healthy runs of the same program. A fault without an effect is a
broken injection and no miss of the diagnosis; its program has to be mended before anything is judged.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.diagnosing.cases import HALVES, HEALTHY, Case, cases
from benchmarks.diagnosing.loops import SLOW_RANK
from benchmarks.diagnosing.make import LABEL
from esper_otel.diagnosis.subject import VIEWS
from esper_otel.sql import connect

_NOT_FINITE: Final = """
    SELECT (SELECT count(*) FROM tolaria_training_update WHERE NOT isfinite(loss) OR NOT isfinite(pre_clip_grad_norm))
    + (SELECT count(*) FROM tamiyo_updates WHERE NOT isfinite(value_loss) OR NOT isfinite(pre_clip_grad_norm))
    + (SELECT count(*) FROM tamiyo_update_skipped WHERE reason LIKE 'nonfinite%')
    + (SELECT count(*) FROM tolaria_epochs WHERE NOT isfinite(val_loss))
"""
_NORM: Final = """
    SELECT max(n) FROM (SELECT pre_clip_grad_norm AS n FROM tolaria_training_update
    UNION ALL SELECT pre_clip_grad_norm FROM tamiyo_updates) WHERE isfinite(n)
"""
_ENTROPY: Final = """
    SELECT min(low) FROM (SELECT coalesce(list_min(map_values(head_entropy)), entropy) AS low FROM tamiyo_updates
    ORDER BY timestamp DESC LIMIT 5)
"""
_OWN: Final = f"""
    WITH d AS (SELECT rank, unnest(map_keys(durations_s)) AS phase, unnest(map_values(durations_s)) AS s
    FROM tolaria_phase_durations), w AS (SELECT rank, sum(mean) AS own FROM
    (SELECT rank, phase, avg(list_avg(s)) AS mean FROM d WHERE phase <> 'backward' GROUP BY ALL) GROUP BY rank)
    SELECT max(own) FILTER (rank = {SLOW_RANK}) - max(own) FILTER (rank <> {SLOW_RANK}) FROM w
"""
_CRITIC: Final = """
    SELECT median(v) FROM (SELECT explained_variance AS v, ntile(2) OVER (ORDER BY timestamp) AS half
    FROM tamiyo_updates
    WHERE isfinite(explained_variance)) WHERE half = 2
"""
_LATE_LOSS: Final = """
    SELECT max(v) FROM (SELECT value_loss AS v, ntile(2) OVER (ORDER BY timestamp) AS half FROM tamiyo_updates
    WHERE isfinite(value_loss)) WHERE half = 2
"""
"""Of the second half: the first value losses of every run of esper-lite are high."""
_STATUS: Final = ""

FIGURES: Final[dict[str, tuple[str, str]]] = {
    "slow_loader": ("more", "SELECT avg(dataloader_wait_ms) FROM tolaria_throughput"),
    "memory_leak": ("more", "SELECT max(process_memory_bytes) - min(process_memory_bytes) FROM infrastructure"),
    "recompilation": ("more", "SELECT count(*) FROM tolaria_recompilation"),
    "killed": ("less", _STATUS),
    "raised": ("more", _STATUS),
    "lr_x30": ("more", f"SELECT coalesce((SELECT max(kl_divergence) FROM tamiyo_updates), ({_NORM}))"),
    **dict.fromkeys(("nan_input", "nan_weights", "nan_reward", "poisoned_reward"), ("more", _NOT_FINITE)),
    **dict.fromkeys(("bad_batch", "offset_rewards"), ("more", _NORM)),
    "huge_reward": ("more", "SELECT max(value_loss) FROM tamiyo_updates WHERE isfinite(value_loss)"),
    "loss_diverges": (
        "more",
        "SELECT avg(loss) FROM (SELECT loss FROM tolaria_training_update ORDER BY timestamp DESC LIMIT 30)",
    ),
    "deep_sigmoid": ("more", "SELECT max(norm_spread) FROM tolaria_gradient_stats"),
    "dead_layer": ("more", "SELECT max(dead_layer_count) FROM tolaria_gradient_stats"),
    "constant_reward": (
        "less",
        "SELECT stddev_pop(r) FROM (SELECT episode_reward AS r FROM episode_outcomes ORDER BY timestamp DESC LIMIT 20)",
    ),
    **dict.fromkeys(("entropy_sign", "stuck_policy", "dead_head"), ("less", _ENTROPY)),
    "frozen_critic": ("less", _CRITIC),
    "stale_log_probs": ("more", "SELECT max(ratio_max) FROM tamiyo_updates WHERE isfinite(ratio_max)"),
    "wiped_head": ("less", "SELECT min(avg_accuracy) FROM tolaria_batches WHERE batch_idx >= 4"),
    **dict.fromkeys(("hostage", "hostage_losing"), ("more", "SELECT count(*) FROM reward_hacking_suspected")),
    **dict.fromkeys(("slow_rank_sleep", "slow_rank_compute", "slow_rank_input"), ("more", _OWN)),
    "killed_rank": ("less", _STATUS),
}
"""By fault: on which side of the healthy runs its figure lies, and the query for it; none for the exit status."""

FIGURES_OF: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("esper-lite", "slow_loader"): ("more", "SELECT avg(dataloader_wait_ratio) FROM tamiyo_updates"),
    ("esper-lite", "frozen_critic"): ("less", "SELECT max(head_grad_norm['value']) FROM tamiyo_updates"),
    **dict.fromkeys((("esper-lite", "nan_reward"), ("esper-lite", "huge_reward")), ("more", _LATE_LOSS)),
    ("esper-lite", "nan_input"): (
        "more",
        f"SELECT ({_NOT_FINITE}) + (SELECT count(*) FROM rollbacks WHERE panic_reason LIKE '%nan%')",
    ),
}
"""The same by producer and fault, where a producer records something else."""


class Effect(msgspec.Struct, frozen=True):
    """Figure of one broken run, and the range of the healthy ones of its program."""

    name: str
    figure: float | None
    least: float
    most: float
    side: str

    @property
    def is_there(self) -> bool:
        """True if the fault can be seen."""
        if self.figure is None:
            return False
        return self.figure > self.most if self.side == "more" else self.figure < self.least


def effects(directory: Path, half: str, first_seed: int = 0, only: str = "") -> list[Effect]:
    """The effect of every fault of one half whose run is there, its name with ``only`` in it."""
    chosen = [case for case in cases(first_seed) if case.half == half and only in case.name]
    there = [case for case in chosen if (directory / case.name / LABEL).exists()]
    found = []
    for case in (each for each in there if each.fault != HEALTHY):
        side, query = FIGURES_OF.get((case.producer, case.fault), FIGURES[case.fault])
        healthy = [each for each in there if each.fault == HEALTHY and _program(each) == _program(case)]
        range_ = [value for each in healthy if (value := figure(directory / each.name, query)) is not None]
        least, most = (min(range_), max(range_)) if range_ else (float("-inf"), float("inf"))
        found.append(Effect(case.name, figure(directory / case.name, query), least, most, side))
    return found


def _program(case: Case) -> str:
    """The program and what it trains: the name without fault and seed."""
    return case.name.removesuffix(f"-{case.fault}-{case.seed}")


def figure(place: Path, query: str) -> float | None:
    """The figure of the run in ``place``; None if it was not measured."""
    if query == _STATUS:
        statuses: list[int] = json.loads((place / LABEL).read_text())["statuses"]
        return float(max(statuses, key=abs))
    with connect([place / "telemetry" / place.name], views=VIEWS, all_rejected=False) as connection:
        value: Any = connection.execute(query).fetchall()[0][0]
    return None if value is None else float(value)


def table(found: Iterable[Effect]) -> Iterable[str]:
    """A line for each run."""
    for each in found:
        shown = "not measured" if each.figure is None else f"{each.figure:.4g}"
        verdict = "seen" if each.is_there else "NO EFFECT"
        yield f"{each.name:<34} {shown:>12}   healthy {each.least:.4g} to {each.most:.4g}   {verdict}\n"


def main() -> int:
    """Print the effects; exit status 1 if a fault had none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--half", choices=HALVES, default=HALVES[0])
    parser.add_argument("--first-seed", type=int, default=0, help="as for benchmarks.diagnosing.make")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    found = effects(options.directory, options.half, options.first_seed, options.only)
    sys.stdout.writelines(table(found))
    return 0 if all(each.is_there for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
