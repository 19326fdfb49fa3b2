"""Charts of the policy's updates: gradients, trust region, value function, entropy (plan, Appendix F)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from esper_otel.report.canvas import Canvas
from esper_otel.report.chart import SKIPPED, Axis, Chart, Series, missing, not_measured, zeros
from esper_otel.report.sampling import drawn_together, is_finite
from esper_otel.report.updates import X_TITLE, Updates

GRADIENTS: Final = "Gradient health"
TRUST: Final = "Trust region"
VALUE: Final = "Value function"
ENTROPY: Final = "Entropy and policy loss"

FEW_UPDATES: Final = 20
"""Updates up to which each has its tick: no axis of whole things shows halves."""

LOW_AT_THE_START: Final = frozenset({"explained_variance"})
"""Fields that are beyond their limits at the start of every healthy run: no single value of them is marked."""

_NO_UPDATE: Final = "the log contains no policy update."
_ABOUT: Final = {
    GRADIENTS: "L2 norm of the policy's gradient before and after clipping, and updates that were skipped.",
    TRUST: "Change of the policy by an update: approximate KL in nats, share of clipped steps, probability ratios.",
    VALUE: "Quality of the critic's predictions of λ-returns before it learns from them: 1 is perfect, below 0 is worse"
    " than the mean.",
    ENTROPY: "Entropy of each action head over its maximum, stacked; a band that vanishes is a head that collapsed."
    " The policy's entropy in nats where there are no heads; its loss.",
}


def policy_charts(updates: Updates) -> list[Chart]:
    """The four charts."""
    return [_gradients(updates), _trust(updates), _value(updates), _entropy(updates)]


def _gradients(updates: Updates) -> Chart:
    before, after = updates.series("pre_clip_grad_norm"), updates.series("grad_norm")
    named = [("norm before clipping", before), ("norm after clipping", after)]
    if not (before.is_measured or after.is_measured or updates.skipped):
        elsewhere = " The norms of this program's optimizers are under Training." * updates.has_norms_of_a_loop
        return _nothing(GRADIENTS, updates, named, elsewhere)
    canvas = _canvas([Axis("gradient norm", is_log=True)], updates)
    _lines(canvas, 1, named, "pre_clip_grad_norm")
    highest = max((v for v in [*before.values, *after.values] if v is not None and is_finite(v)), default=1.0)
    canvas.marks(1, SKIPPED, updates.skipped_at(max(highest, 1e-6)))
    notes = [*missing(named), *zeros([*before.values, *after.values]), *updates.notes]
    return canvas.chart(GRADIENTS, _ABOUT[GRADIENTS], notes, 400)


def _trust(updates: Updates) -> Chart:
    return _of_rows(
        TRUST,
        updates,
        (
            (Axis("KL, nats"), (("kl_divergence", "KL, mean"),)),
            (Axis("worst step, nats"), (("approx_kl_max", "KL of the worst step"),)),
            (Axis("clipped, 0 to 1"), (("clip_fraction", "clip fraction"),)),
            (Axis("ratio new/old"), (("ratio_max", "largest ratio"), ("ratio_min", "smallest ratio"))),
        ),
    )


def _value(updates: Updates) -> Chart:
    return _of_rows(
        VALUE,
        updates,
        (
            (
                Axis("explained variance"),
                (("explained_variance", "explained variance"), ("value_target_correlation", "correlation with return")),
            ),
            (Axis("value loss"), (("value_loss", "value loss"),)),
            (
                Axis("λ-return"),
                (
                    ("return_mean", "mean return"),
                    ("return_p10", "return, 10th percentile"),
                    ("return_p50", "return, median"),
                    ("return_p90", "return, 90th percentile"),
                ),
            ),
        ),
    )


def _of_rows(title: str, updates: Updates, parts: Sequence[tuple[Axis, Sequence[tuple[str, str]]]]) -> Chart:
    """One row of axes per part; the first field of a part has its limits drawn."""
    named = [[(name, updates.series(field)) for field, name in fields] for _, fields in parts]
    everything = [pair for row in named for pair in row]
    kept = [i for i, row in enumerate(named) if any(series.is_measured for _, series in row)]
    if not kept:
        return _nothing(title, updates, everything)
    canvas = _canvas([parts[i][0] for i in kept], updates)
    for row, i in enumerate(kept, start=1):
        _lines(canvas, row, named[i], parts[i][1][0][0])
    return canvas.chart(title, _ABOUT[title], [*missing(everything), *updates.notes])


def _lines(canvas: Canvas, row: int, named: Sequence[tuple[str, Series]], limited: str) -> None:
    for (name, series), dash in zip(named, ("solid", "dash", "dot", "dashdot"), strict=False):
        if series.is_measured:
            canvas.line(row, name, series, dash=dash)
    if named[0][1].is_measured:
        canvas.thresholds(row, limited, named[0][1], is_marked=limited not in LOW_AT_THE_START)


def _entropy(updates: Updates) -> Chart:
    heads = {head: series for head, series in updates.entries("head_entropy").items() if series.is_measured}
    scalars = [("policy loss", updates.series("policy_loss"))]
    if not heads:
        scalars.insert(0, ("entropy, nats", updates.series("entropy")))
    measured = [(name, series) for name, series in scalars if series.is_measured]
    if not heads and not measured:
        return _nothing(ENTROPY, updates, [("entropy of the heads", Series((), (), ())), *scalars])
    stack = [Axis("entropy, stacked")] if heads else []
    canvas = _canvas([*stack, *(Axis(name) for name, _ in measured)], updates)
    indexes = drawn_together([series.values for series in heads.values()])
    for head, series in heads.items():
        canvas.area(1, head, series, indexes)
    for row, (name, series) in enumerate(measured, start=len(stack) + 1):
        canvas.line(row, name, series)
    broken = sum(not is_finite(v) for series in heads.values() for v in series.values if v is not None)
    notes = [f"{broken} entropies are NaN or infinite and missing from the stack."] if broken else []
    return canvas.chart(ENTROPY, _ABOUT[ENTROPY], [*missing(scalars), *notes, *updates.notes])


def _canvas(axes: Sequence[Axis], updates: Updates) -> Canvas:
    canvas = Canvas(axes, X_TITLE)
    if len(updates.rows) <= FEW_UPDATES:
        canvas.x_axes(dtick=1)
    return canvas


def _nothing(title: str, updates: Updates, named: Sequence[tuple[str, Series]], elsewhere: str = "") -> Chart:
    why = f"no update holds {', '.join(name for name, _ in named)}." if updates.rows else _NO_UPDATE
    return not_measured(title, _ABOUT[title], why + elsewhere)
