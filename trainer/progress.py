"""Progress display of a run: a progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trainer.simic.observer import RoundEnd


@contextmanager
def shown(console: Console, rounds: int, enabled: bool) -> Iterator[Callable[[str | None, RoundEnd], None]]:
    """A function to call, with the arm's group, after each of ``rounds`` rounds."""
    if not enabled:
        yield lambda group_id, end: None
        return
    columns = (
        TextColumn("round"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[group]}reward {task.fields[reward]:.2f}  accuracy {task.fields[accuracy]:.1f} %"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("train", total=rounds, group="", reward=0.0, accuracy=0.0)

        def advance(group_id: str | None, end: RoundEnd) -> None:
            progress.update(
                task,
                advance=1,
                group="" if group_id is None else f"{group_id}: ",
                reward=sum(end.rewards) / len(end.rewards),
                accuracy=end.rolling_accuracy,
            )

        yield advance


def summary(history: list[RoundEnd], group_id: str | None = None) -> Table:
    """First and last rounds of an arm side by side; of rank 0's environments when there are several ranks."""
    table = Table(title="Training" if group_id is None else f"Training, group {group_id}", show_edge=False)
    for column in ("", "first rounds", "last rounds"):
        table.add_column(column, justify="right" if column else "left")
    part = max(1, len(history) // 5)
    first, last = history[:part], history[-part:]
    rows: tuple[tuple[str, Callable[[RoundEnd], float], str], ...] = (
        ("episode reward", lambda end: sum(end.rewards) / len(end.rewards), "{:.2f}"),
        ("final accuracy, %", lambda end: sum(end.accuracies) / len(end.accuracies), "{:.1f}"),
        ("seeds created", lambda end: float(end.seeds_created), "{:.1f}"),
        ("seeds fossilised", lambda end: float(end.seeds_fossilized), "{:.1f}"),
        ("policy updates", lambda end: float(len(end.learn.updates)), "{:.1f}"),
        ("round, s", lambda end: end.duration_s, "{:.2f}"),
    )
    for name, value, form in rows:
        table.add_row(name, *(form.format(sum(map(value, ends)) / len(ends)) for ends in (first, last)))
    return table
