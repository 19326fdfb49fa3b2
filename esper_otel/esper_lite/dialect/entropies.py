"""Entropies of heads: esper-lite's are means over all steps, with a 0 for each that gave the head no choice."""

from __future__ import annotations

import msgspec

from esper_otel.events import Event, PolicyUpdate


def over_steps_with_a_choice(event: Event) -> Event:
    """``event`` of esper-lite with entropies of heads as our metric has them: over the steps with a choice.

    A head without such a step has none. Other events, and updates that do not tell the share of such steps, stay as
    they are. The log, SQL and W&B keep what esper-lite wrote.
    """
    if not isinstance(event, PolicyUpdate) or not event.head_entropy or not event.head_learnable_fraction:
        return event
    shares = event.head_learnable_fraction
    found = {
        head: min(entropy / shares[head], 1.0) if head in shares else entropy  # two roundings may lift it above 1
        for head, entropy in event.head_entropy.items()
        if shares.get(head, 1.0) > 0.0
    }
    return msgspec.structs.replace(event, head_entropy=found)
