"""Conversion of events to rows of a W&B history: curves of one A/B group over updates, epochs and batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from esper_otel.events import BatchCompleted, EpisodeOutcome, EpochCompleted, InfrastructureSnapshot, PolicyUpdate
from esper_otel.events.declare import Event
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.wandb.columns import Row, row_of

TIME: Final = "_timestamp"
"""W&B's own column for the Unix time of a row in s, which it fills with the present where it is missing."""

AXES: Final = {"tamiyo": "tamiyo/update", "tolaria": "tolaria/epoch", "simic": "simic/batch", "infra": "infra/batch"}
"""The horizontal axis of each group: policy updates, epochs and rounds, counted over the run."""


class Moment(msgspec.Struct):
    """Rows of several members (environments, devices) for one moment, until it is complete.

    Attributes:
        at: what tells the moment from the next one, None when only a repeated member does.
        rows: row by member.
        time_s: Unix time of the last of them; None where it is not known.
    """

    at: int | None = None
    rows: dict[str, Any] = {}
    time_s: float | None = None


class GroupState(msgspec.Struct):
    """State of a group: rows made so far, updates, epochs and batches counted, moments in progress; plain JSON."""

    steps: int = 0
    updates: int = 0
    epochs: int = 0
    batches: int = 0
    moments: dict[str, Moment] = {}


Stepped = tuple[int, Row]
"""Number of a row in its W&B run, from 0, and the row."""


class GroupRows:
    """Makes the rows of one A/B group. Its state survives a restart, so that a row always has the same number."""

    def __init__(self, limits: AttributeLimits, state: Any = None) -> None:
        """Continue from an earlier ``state`` if given.

        Raises:
            msgspec.ValidationError: it is of another version.
        """
        self._limits = limits
        self._state = msgspec.convert(state, GroupState) if state is not None else GroupState()
        for moment in self._state.moments.values():
            moment.rows = {member: _numbers(row) for member, row in moment.rows.items()}
        self._made: list[Stepped] = []
        self._time_s: float | None = None
        self._actions: dict[type[Event], Callable[[Any, Row], None]] = {
            PolicyUpdate: self._update,
            EpochCompleted: self._epoch,
            EpisodeOutcome: self._outcome,
            BatchCompleted: self._batch,
            InfrastructureSnapshot: self._infrastructure,
        }

    @property
    def state(self) -> Any:
        """To be stored; plain JSON."""
        state = msgspec.to_builtins(self._state)
        for moment in state["moments"].values():
            moment["rows"] = {member: _texts(row) for member, row in moment["rows"].items()}
        return state

    def feed(self, event: Event, time_s: float | None = None) -> list[Stepped]:
        """The rows that ``event`` of Unix time ``time_s`` completes; each has the time of the last event in it."""
        self._time_s = time_s
        self._actions[type(event)](event, row_of(event, self._limits))
        return self._taken()

    def finish(self) -> list[Stepped]:
        """The rows of the moments in progress, at the end of the log."""
        for group in list(self._state.moments):
            self._complete(group)
        return self._taken()

    def _taken(self) -> list[Stepped]:
        made, self._made = self._made, []
        return made

    def _add(self, group: str, position: int, row: Row, time_s: float | None) -> None:
        timed = row if time_s is None else {**row, TIME: time_s}
        self._made.append((self._state.steps, {AXES[group]: position, **timed}))
        self._state.steps += 1

    def _update(self, event: PolicyUpdate, row: Row) -> None:
        self._state.updates += 1
        self._add("tamiyo", self._state.updates, row, self._time_s)

    def _epoch(self, event: EpochCompleted, row: Row) -> None:
        self._join("tolaria", event.inner_epoch, f"env_{event.env_id}", row)

    def _outcome(self, event: EpisodeOutcome, row: Row) -> None:
        self._join("simic", None, f"env_{event.env_id}", row)

    def _infrastructure(self, event: InfrastructureSnapshot, row: Row) -> None:
        self._join("infra", event.batch_idx, str(event.device), row)

    def _batch(self, event: BatchCompleted, row: Row) -> None:
        for group in ("tolaria", "simic"):
            self._complete(group)
        self._state.batches += 1
        self._add("tolaria", self._state.epochs, {AXES["simic"]: self._state.batches, **row}, self._time_s)

    def _join(self, group: str, at: int | None, member: str, row: Row) -> None:
        moment = self._state.moments.get(group)
        if moment is not None and (moment.at != at or member in moment.rows):
            self._complete(group)
            moment = None
        if moment is None:
            moment = self._state.moments[group] = Moment(at)
        moment.rows[member] = row
        moment.time_s = self._time_s

    def _complete(self, group: str) -> None:
        moment = self._state.moments.pop(group, None)
        if moment is None:
            return
        row = _means(list(moment.rows.values()))
        if len(moment.rows) > 1:
            for member, own in moment.rows.items():
                row |= {f"{group}/{member}/{name.partition('/')[2]}": value for name, value in own.items()}
        self._add(group, self._position(group, moment), row, moment.time_s)

    def _position(self, group: str, moment: Moment) -> int:
        if group == "tolaria":
            self._state.epochs += 1
            return self._state.epochs
        if group == "simic":
            return self._state.batches + 1
        return moment.at if moment.at is not None else self._state.batches


def _means(rows: list[Row]) -> Row:
    """Mean of every column over the rows that have it; of one row, the row itself."""
    if len(rows) == 1:
        return dict(rows[0])
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in columns.items()}


def _texts(row: Row) -> dict[str, float | int | str]:
    """``row`` as JSON can bring it back: what is not finite as text."""
    return {name: value if math.isfinite(value) else str(value) for name, value in row.items()}


def _numbers(row: dict[str, float | int | str]) -> Row:
    """The inverse of :func:`_texts`."""
    return {name: float(value) if isinstance(value, str) else value for name, value in row.items()}
