"""TraceQL over the relay's traces: one trace for each round."""

from __future__ import annotations

from typing import Final

import msgspec

RUN: Final = 'resource.service.name=~"$job" && resource.service.instance.id=~"$instance"'
ROUND: Final = "simic.round"
SEED: Final = "kasmina.seed"
NEWEST: Final = "with (most_recent=true)"
"""Without it Tempo returns whichever it finds first."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One TraceQL query."""

    text: str


def seeds() -> Trace:
    """The lives of the seeds of the chosen run, environment and slot."""
    chosen = 'span.kasmina.env_id=~"$env_id" && span.kasmina.slot_id=~"$slot" && span.esper.group.id=~"$group_id"'
    shown = (
        "span.kasmina.env_id, span.kasmina.slot_id, span.kasmina.blueprint_id, span.kasmina.seed.outcome, "
        "span.kasmina.improvement, span.esper.round"
    )
    return Trace(text=f'{{{RUN} && name="{SEED}" && {chosen}}} | select({shown}) {NEWEST}')


def rounds(*, only_anomalous: bool = False) -> Trace:
    """The rounds of the chosen run, with the attributes of their root spans."""
    condition = " && span.esper.round.anomalous=true" if only_anomalous else ""
    shown = "span.esper.round, span.esper.group.id, span.tolaria.avg_accuracy, span.tolaria.avg_reward, statusMessage"
    chosen = f'{RUN} && name="{ROUND}" && span.esper.group.id=~"$group_id"{condition}'
    return Trace(text=f"{{{chosen}}} | select({shown}) {NEWEST}")
