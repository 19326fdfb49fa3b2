"""The updates of a training loop that is no policy: gradient norms, loss and learning rate by model."""

from __future__ import annotations

from typing import Final

from esper_otel.report.canvas import Canvas
from esper_otel.report.chart import Axis, Chart, Series, missing, not_measured, zeros
from esper_otel.report.source import FIRST_RANK, OF_ARM, Arm, Connection, Row, of_arm
from esper_otel.report.updates import clock

TITLE: Final = "Updates of the model"
_ABOUT: Final = (
    "L2 norm of the gradient before and after clipping, loss of the backward pass before the update, learning rate."
)
_AXES: Final = {"norm": Axis("gradient norm", is_log=True), "loss": Axis("loss"), "rate": Axis("learning rate")}
_LINES: Final = (
    ("norm", "before clipping", "pre_clip_grad_norm"),
    ("norm", "after clipping", "grad_norm"),
    ("loss", "loss", "loss"),
    ("rate", "learning rate", "lr"),
)
_QUERY: Final = f"""
    SELECT timestamp, coalesce(model, 'model') AS model, coalesce(optimizer, '') AS optimizer, update,
        {", ".join(field for _, _, field in _LINES)}
    FROM tolaria_training_update WHERE {OF_ARM} {FIRST_RANK} ORDER BY timestamp, update
"""


def training_chart(connection: Connection, arm: Arm) -> Chart:
    """The chart of one arm; models and optimizers are lines of their own."""
    by_model: dict[tuple[str, str], list[Row]] = {}
    for row in of_arm(connection, _QUERY, arm):
        by_model.setdefault((row["model"], row["optimizer"]), []).append(row)
    if not by_model:
        return not_measured(TITLE, _ABOUT, "the log contains no update of a training loop.")
    names = _names(list(by_model))
    lines = [
        (row, f"{names[key]} {label}".strip(), _series(found, field))
        for key, found in by_model.items()
        for row, label, field in _LINES
    ]
    rows = [row for row in _AXES if any(line.is_measured for at, _, line in lines if at == row)]
    if not rows:
        return not_measured(TITLE, _ABOUT, "no update has a norm, a loss or a learning rate.")
    canvas = Canvas([_AXES[row] for row in rows], "update")
    for at, name, line in lines:
        if line.is_measured:
            canvas.line(rows.index(at) + 1, name, line)
    norms = (value for row, _, line in lines if row == "norm" for value in line.values)
    return canvas.chart(TITLE, _ABOUT, [*missing([(name, line) for _, name, line in lines]), *zeros(norms)])


def _names(keys: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Names of the lines: none for a model alone, the model's, with its optimizer's where it has several."""
    if len(keys) == 1:
        return {keys[0]: ""}
    models = [model for model, _ in keys]
    return {key: " ".join(key).strip() if models.count(key[0]) > 1 else key[0] for key in keys}


def _series(found: list[Row], field: str) -> Series:
    x = [row["update"] if row["update"] is not None else number for number, row in enumerate(found, start=1)]
    texts = [f"update {number}, {clock(row['timestamp'])}" for number, row in zip(x, found, strict=True)]
    return Series(x, [row[field] for row in found], texts)
