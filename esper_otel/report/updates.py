"""The policy updates of an arm, as series over their number."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from typing import Any, Final

import msgspec

from esper_otel.events.vocabulary import HEADS
from esper_otel.report.chart import Series, in_order
from esper_otel.report.source import FIRST_RANK, OF_ARM, Arm, Connection, Row, of_arm

X_TITLE: Final = "policy update"

_COLUMNS: Final = (
    "pre_clip_grad_norm",
    "grad_norm",
    "kl_divergence",
    "approx_kl_max",
    "clip_fraction",
    "ratio_min",
    "ratio_max",
    "explained_variance",
    "value_loss",
    "policy_loss",
    "entropy",
    "env_steps",
    "value_target_correlation",
    "return_mean",
    "return_p10",
    "return_p50",
    "return_p90",
    "head_entropy",
    "cuda_memory_allocated_gb",
    "cuda_memory_reserved_gb",
    "cuda_memory_peak_gb",
)
_ORDER: Final = "ORDER BY timestamp, batch, ppo_update_idx"


class Updates(msgspec.Struct, frozen=True):
    """Updates with a text for each, and skipped updates, in order.

    ``other_ranks`` are those that log updates of their own, which are not here. ``has_norms_of_a_loop``: whether the
    sensors measured the norms of the optimizers.
    """

    rows: list[Row]
    texts: list[str]
    skipped: list[Row]
    other_ranks: int
    has_norms_of_a_loop: bool

    def series(self, field: str) -> Series:
        """One field over the number of the update, from 1."""
        return Series(range(1, len(self.rows) + 1), [row[field] for row in self.rows], self.texts)

    def entries(self, field: str) -> dict[str, Series]:
        """The entries of a map over heads, as series by head."""
        keys = in_order((key for row in self.rows for key in row[field] or {}), HEADS)
        x = range(1, len(self.rows) + 1)
        return {key: Series(x, [(row[field] or {}).get(key) for row in self.rows], self.texts) for key in keys}

    def skipped_at(self, height: float) -> Series:
        """The skipped updates between those before and after them, at one height."""
        times = [row["timestamp"] for row in self.rows]
        x = [bisect_right(times, row["timestamp"]) + 0.5 for row in self.skipped]
        return Series(x, [height] * len(x), [f"{_text(row)}: {row['reason']}" for row in self.skipped])

    @property
    def notes(self) -> list[str]:
        """Note about the choice of updates."""
        if not self.other_ranks:
            return []
        return [f"Only the first rank's updates are drawn; ranks that log others: {self.other_ranks}."]


def updates_of(connection: Connection, arm: Arm) -> Updates:
    """The updates of an arm."""
    columns = ", ".join(_COLUMNS)
    found = of_arm(
        connection,
        f"SELECT timestamp, batch, ppo_update_idx, {columns} FROM tamiyo_updates WHERE {OF_ARM} {FIRST_RANK} {_ORDER}",
        arm,
    )
    skipped = of_arm(
        connection,
        f"SELECT timestamp, batch, ppo_update_idx, reason, pre_clip_grad_norm FROM tamiyo_update_skipped"
        f" WHERE {OF_ARM} {FIRST_RANK} {_ORDER}",
        arm,
    )
    ranks = of_arm(connection, f"SELECT count(DISTINCT rank) AS ranks FROM tamiyo_updates WHERE {OF_ARM}", arm)
    loop = of_arm(
        connection, f"SELECT count(pre_clip_grad_norm) AS norms FROM tolaria_training_update WHERE {OF_ARM}", arm
    )
    texts = [_text(row) for row in found]
    return Updates(found, texts, skipped, max(ranks[0]["ranks"] - 1, 0), loop[0]["norms"] > 0)


def _text(row: Row) -> str:
    number = f", update {row['ppo_update_idx']}" if row["ppo_update_idx"] is not None else ""
    steps = row.get("env_steps")
    where = f"step {steps}" if row["batch"] is None and steps is not None else f"round {_or_unknown(row['batch'])}"
    return f"{where}{number}, {clock(row['timestamp'])}"


def clock(moment: datetime) -> str:
    """A time for people, UTC, to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _or_unknown(value: Any) -> str:
    return "?" if value is None else str(value)
