"""Which arm of an A/B run an event of esper-lite belongs to, where the event itself does not say.

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
    """Follows which arm is trained, for each log by itself; constant memory."""

    def __init__(self, state: Mapping[str, str] | None = None) -> None:
        """Go on from ``state`` of an earlier one when there is one."""
        self._current: dict[str, str] = dict(state or {})

    @property
    def state(self) -> dict[str, str]:
        """To be stored together with the reader's positions; plain JSON."""
        return dict(self._current)

    def attributed(self, record: Record) -> Record:
        """``record``, with the group of its arm where it is esper-lite's and names none. Lines of ours stay."""
        if record.schema_version is not None:
            return record
        if record.event_type == _START:
            self._current[record.source] = record.group_id
            return record
        arm = self._current.get(record.source, NO_GROUP)
        if record.group_id != NO_GROUP or arm == NO_GROUP:
            return record
        return msgspec.structs.replace(record, group_id=arm)
