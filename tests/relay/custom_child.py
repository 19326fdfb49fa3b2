"""A training process with an event class of its own: ``python -m tests.relay.custom_child DIRECTORY EVENTS``."""

import sys
from typing import Annotated

import esper_otel
from esper_otel.events.declare import Domain, Event, counter, gauge, nonfinite, note
from esper_otel.signals.custom import declares


@declares(
    "SIMIC_CURRICULUM",
    domain=Domain.SIMIC,
    attributes=("task",),
    metrics=(counter("simic.curriculum.choices", unit="{choice}", description="Choices of a task."),),
)
class Curriculum(Event, frozen=True, kw_only=True):
    """The curriculum chose a task."""

    task: Annotated[str | None, note("Name of the task.")] = None
    hardness: Annotated[
        float | None,
        note(
            "Hardness of the task, 0 to 1.",
            gauge("simic.curriculum.hardness"),
            nonfinite("simic.curriculum.lost", unit="{choice}", description="Choices without a finite hardness."),
        ),
    ] = None
    scores: Annotated[
        dict[str, float] | None, note("Score by skill.", gauge("simic.curriculum.score"), key="skill")
    ] = None


def main(directory: str, events: int) -> None:
    esper_otel.configure(telemetry_dir=directory, run_id="run", relay=False)
    for number in range(events):
        hardness = float("nan") if number == 1 else number / 100
        esper_otel.emit(Curriculum(task=f"maze-{number % 2}", hardness=hardness, scores={"jump": float(number)}))
    esper_otel.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
