"""Rules about the loss of a training loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade
from esper_otel.diagnosis.subject import Row, Subject, clock

LOOP: Final = "tolaria_training_update"
POLICY: Final = "tamiyo_updates"

FIRST: Final = 3
"""Updates whose median is where a loss began."""

RECOVERED: Final = 0.99
"""Part of what a loss had fallen by at its best with which it has to end."""

LONG: Final = 100
ROSE: Final = 1.05
"""A loss that was never below its start in so many updates, and ended that much above it, goes the wrong way."""

JUMPED: Final = 2.0
SELDOM_BELOW: Final = 0.2
"""Such a loss goes the wrong way, however little it ended above its start, if its largest value of all, so many times
its start, was in the first tenth of the run, and at most this share of its values was below the start: half of them are
where a loss merely stays where it began."""

DIVERGED: Final = 3.0
"""The loss ended so many times above where it had been: the median of its last tenth over the median of its best."""

LEAST_UPDATES: Final = 40
"""Fewer updates say nothing about the course of a loss."""


def diverged(run: Subject) -> Iterator[Finding]:
    """The loss of a loop ended far above where it had been, or was never below where it began."""
    is_alone = _has_one_loss(run)
    for row in _tenths(run):
        if row["n"] < LEAST_UPDATES or row["best"] <= 0 or row["last_loss"] is None or _is_low(row):
            continue
        last, model = row["last_loss"], row["model"]
        if last > DIVERGED * row["best"] and last > DIVERGED * max(row["first_loss"], 0.0):
            sentence = f"The loss of {model} rose from {row['best']:.4g} to {last:.4g} and stayed there."
        elif is_alone and row["n"] >= LONG and row["best"] >= row["start"] and last > _surely_above(row):
            sentence = (
                f"The loss of {model} was never below {row['start']:.4g}, where it began, and ended at {last:.4g}."
            )
        elif is_alone and row["n"] >= LONG and _is_thrown_out(row):
            sentence = (
                f"The loss of {model} jumped from {row['start']:.4g} to {row['most']:.4g} at first and never came back:"
                f" it ended at {last:.4g}."
            )
        else:
            continue
        yield Finding(
            kind="loss_diverged",
            severity=Grade.WARNING,
            confidence=Confidence.MEDIUM,
            sentence=sentence,
            evidence=[Figure("at first", row["start"]), Figure("best", row["best"]), Figure("at last", last)],
            when=f"rising after {clock(row['best_at'])}",
            who={"model": str(model), "rank": str(row["rank"])},
            query=f'SELECT "update", loss, lr, pre_clip_grad_norm FROM {LOOP} ORDER BY timestamp',
        )


def _surely_above(row: Row) -> float:
    """A loss above where it began, further than its first values lie apart: what batches differ by is no rise."""
    start, spread = row["start"], row["spread"]
    return float(max(ROSE * start, start + spread))


def _is_thrown_out(row: Row) -> bool:
    """Return True if the loss jumped at first, no tenth of the run was below its start, and hardly any value."""
    is_above = row["best"] >= row["start"] and row["last_loss"] > row["start"] and row["below"] <= SELDOM_BELOW
    return bool(is_above and row["most"] > JUMPED * row["start"] and row["most_in"] == 1)


def _has_one_loss(run: Subject) -> bool:
    """False where the loss is no measure of progress: that of a policy and its critic, or of two that compete."""
    loops = run.one(f"SELECT count(DISTINCT (model, optimizer)) AS n FROM {LOOP}")["n"]
    return loops == 1 and not run.count(POLICY)


def has_recovered(run: Subject) -> bool:
    """Return True if every loss of a loop ended about as low as it ever was."""
    rows = [row for row in _tenths(run) if row["last_loss"] is not None]
    return bool(rows) and all(map(_is_low, rows))


def _is_low(row: Row) -> bool:
    """Return True if the loss ended with about all that it had fallen by: of 1e-8 and 1e-6 neither is a rise."""
    fall = row["start"] - row["best"]
    return bool(fall > 0 and row["start"] - row["last_loss"] >= RECOVERED * fall)


def _tenths(run: Subject) -> list[Row]:
    """Of each loss: where it began, the medians of its first, its best and its last tenth."""
    return run.rows(
        "WITH u AS (SELECT model, optimizer, rank, loss, timestamp, ntile(10) OVER w AS tenth, row_number() OVER w AS"
        f" number FROM {LOOP} WHERE isfinite(loss) WINDOW w AS (PARTITION BY model, optimizer, rank ORDER BY timestamp,"
        " seq)), f AS (SELECT model, optimizer, rank, median(loss) AS start, max(loss) - min(loss) AS spread FROM u"
        f" WHERE number <= {FIRST} GROUP BY ALL), t AS (SELECT u.model, u.optimizer, u.rank, tenth, count(*) AS n,"
        " median(loss) AS loss, max(loss) AS high, count(*) FILTER (loss < start) AS low, any_value(start) AS start,"
        " any_value(spread) AS spread, min(timestamp) AS began FROM u JOIN f ON u.model IS NOT DISTINCT FROM f.model"
        " AND u.optimizer IS NOT DISTINCT FROM f.optimizer AND u.rank = f.rank GROUP BY ALL)"
        " SELECT model, optimizer, rank, sum(n) AS n, min(loss) AS best, min_by(began, loss) AS best_at, max(start) AS"
        " start, max(spread) AS spread, max(high) AS most, max_by(tenth, high) AS most_in, sum(low) / sum(n) AS below,"
        " max(loss) FILTER (tenth = 1) AS first_loss, max(loss) FILTER (tenth = 10) AS last_loss FROM t GROUP BY ALL"
    )
