"""Assignment of esper-lite's events to the arms of an A/B run, if the event does not name its arm.

esper-lite trains the arms of an A/B run one after the other, each begun by a TRAINING_STARTED of its group. What its
emitters send to the hub directly (TAMIYO_INITIATED, GOVERNOR_ROLLBACK, REWARD_HACKING_SUSPECTED) bears the group
``default`` all the same. In the order of the log such an event belongs to the arm that is being trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from esper_otel.log.envelope import Record

NO_GROUP: Final = "default"
_START: Final = "TRAINING_STARTED"


class Arms:
    """Tracks the arm in training, for each log separately; constant memory."""

    def __init__(self, state: Mapping[str, str] | None = None) -> None:
        """Continue from an earlier ``state`` if given."""
        self._current: dict[str, str] = dict(state or {})

    @property
    def state(self) -> dict[str, str]:
        """State to store together with the reader's positions; plain JSON."""
        return dict(self._current)

    def attributed(self, record: Record) -> Record:
        """``record``, with the group of its arm if it is esper-lite's and names none. Our lines are unchanged."""
        if record.schema_version is not None:
            return record
        if record.event_type == _START:
            self._current[record.source] = record.group_id
            return record
        arm = self._current.get(record.source, NO_GROUP)
        if record.group_id != NO_GROUP or arm == NO_GROUP:
            return record
        return msgspec.structs.replace(record, group_id=arm)
