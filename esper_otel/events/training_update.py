"""Events of any PyTorch loop: updates with loss, learning rate and gradient norms; epochs and evaluations."""

from typing import Annotated

from esper_otel.events.bounds import NORM
from esper_otel.events.declare import (
    Domain,
    Event,
    Severity,
    Threshold,
    counter,
    declares,
    gauge,
    histogram,
    maximum,
    nonfinite,
    note,
    timestamp,
    violations,
)
from esper_otel.events.types import Real, Text, Whole

EXCESS_THRESHOLD = Threshold(
    warning_above=3.0,
    critical_above=10.0,
    reason="Norms of healthy programs lie between 0.001 and 10,000, so that an update is compared with the largest "
    "that its own optimizer has lately had. Of 270,000 updates of healthy programs 1 in 10,000 exceeds it three times, "
    "and none ten times.",
)


@declares(
    "TOLARIA_TRAINING_UPDATE",
    domain=Domain.TOLARIA,
    severity=Severity.DEBUG,
    attributes=("model", "optimizer"),
    metrics=(
        counter("tolaria.updates", unit="{update}", description="Optimiser steps of a training loop."),
        timestamp("tolaria.last_update.timestamp", description="Unix time of the last optimiser step of a loop."),
    ),
)
class TrainingUpdate(Event, frozen=True, kw_only=True):
    """One step of one optimiser, as the sensors saw it; sent a moment later, with the time of the step."""

    model: Annotated[Text, note("Model, by the name of its class.")] = None
    optimizer: Annotated[Text, note("Optimiser, by the name of its class.")] = None
    update: Annotated[
        Whole, note("Number of the update of this optimiser, from 1.", gauge("tolaria.update.number"))
    ] = None
    loss: Annotated[
        Real,
        note(
            "Value that the last backward pass before the update started from.",
            gauge("tolaria.update.loss"),
            nonfinite(
                "tolaria.nonfinite_losses", unit="{update}", description="Updates whose loss was NaN or infinite."
            ),
        ),
    ] = None
    lr: Annotated[Real, note("Learning rate of the optimiser's first parameter group.", gauge("tolaria.update.lr"))] = (
        None
    )
    pre_clip_grad_norm: Annotated[
        Real,
        note(
            "L2 norm of the whole gradient before clipping, of every update: what clip_grad_norm_ returned, or measured"
            " where nobody clips. The norm to watch; norm of TOLARIA_GRADIENT_STATS is a sample of it, by device.",
            gauge("tolaria.update.last_pre_clip_grad_norm"),
            histogram("tolaria.update.pre_clip_grad_norm", bounds=NORM),
            maximum(
                "tolaria.update.max_pre_clip_grad_norm",
                description="Largest gradient norm before clipping in the last 60 s.",
            ),
            nonfinite(
                "tolaria.nonfinite_updates",
                unit="{update}",
                description="Updates of a training loop whose gradient norm was NaN or infinite.",
            ),
        ),
    ] = None
    grad_norm_excess: Annotated[
        Real,
        note(
            "Norm before clipping over the largest that this optimizer has lately had, at least 0.3; it fades by 0.3 %"
            " an update. Absent for its first five updates. The sensors compute it.",
            violations(
                "tolaria.update.grad_norm_violations",
                threshold=EXCESS_THRESHOLD,
                description="Updates of a training loop whose gradient norm was far above the largest of late.",
            ),
        ),
    ] = None
    grad_norm: Annotated[
        Real,
        note("L2 norm of the gradient that the optimiser used, after clipping.", gauge("tolaria.update.grad_norm")),
    ] = None


@declares("TOLARIA_LOADER_PASS", domain=Domain.TOLARIA)
class LoaderPass(Event, frozen=True, kw_only=True):
    """A full pass over a data loader, from its first batch to its last; sent later, with the time of its end."""

    kind: Annotated[Text, note("epoch: updates were made. evaluation: none, and nothing could be learnt.")] = None
    number: Annotated[Whole, note("Number of the epoch, or of the evaluation, in this process, from 1.")] = None
    batches: Annotated[Whole, note("Batches that the loader gave.")] = None
    samples: Annotated[Whole, note("Samples in them: length of each batch's first tensor.")] = None
    updates: Annotated[Whole, note("Optimiser steps meanwhile, of all optimisers.")] = None
    duration_ms: Annotated[Real, note("Wall time from the first request for a batch to the end, ms.")] = None
