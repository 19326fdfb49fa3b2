"""Actions of events of one class in one scope (group and rank), bound once to the points that they change.

A relay applies the same few plans millions of times: which instrument a signal is, where its points are and what is
constant among its attributes is decided here and not for every event.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from esper_otel.events.declare import Event, Instrument
from esper_otel.relay.metrics.accumulators import Accumulators
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.metrics.families import AttributeValues
from esper_otel.relay.metrics.last_values import LastValues
from esper_otel.relay.metrics.plans import Plan, Projected

MAX_KNOWN: Final = 20_000
"""Combinations of attribute values whose bounded form is remembered."""

Act = Callable[[Event, int], None]
"""Lets an event of its class act on some points; the second argument is the event's Unix time in ns."""

_Attributes = Callable[[Event], AttributeValues]


class BoundPlans:
    """Binds plans to the points of one metric state."""

    def __init__(
        self, plans: dict[type[Event], Plan], limits: AttributeLimits, sums: Accumulators, last: LastValues
    ) -> None:
        """``plans`` say what each class of events does; ``limits`` bound the attributes of the points."""
        self._plans = plans
        self._limits = limits
        self._sums = sums
        self._last = last
        self._known: dict[tuple[Any, ...], AttributeValues] = {}
        self._numbers = itertools.count()

    def forget(self) -> None:
        """Forget bounded attribute values, when the limits were restored."""
        self._known.clear()

    def bind(self, event_class: type[Event], scope: tuple[str, str]) -> tuple[Act, ...]:
        """Action of ``event_type`` in ``scope``; does nothing for types that feed no metric."""
        plan = self._plans.get(event_class)
        if plan is None:
            return ()
        immediate = [self._acting(projected, scope) for projected in plan.immediate]
        held = [self._holding(projected, scope) for projected in plan.held]
        latest = [
            self._keeping(event_class, fields, self._attributes(group[0], scope))
            for fields, group in plan.latest.items()
        ]
        return (*immediate, *held, *latest)

    def _acting(self, projected: Projected, scope: tuple[str, str]) -> Act:
        signal, read, attributes = projected.signal, projected.read, self._attributes(projected, scope)
        if signal.instrument is Instrument.COUNTER and not signal.path:
            return lambda event, _: self._sums.add(signal, attributes(event), 1.0)
        action, with_key, key_name = self._sums.actions[signal.instrument], self._limits.with_key, signal.key

        def act(event: Event, timestamp_ns: int) -> None:
            values = attributes(event)
            for key, value in read(event):
                action(signal, with_key(key_name, values, key), value, timestamp_ns)

        return act

    def _holding(self, projected: Projected, scope: tuple[str, str]) -> Act:
        signal, read, attributes = projected.signal, projected.read, self._attributes(projected, scope)

        def hold(event: Event, _: int) -> None:
            values = attributes(event)
            for key, value in read(event):
                self._last.hold(signal, self._limits.with_key(signal.key, values, key), value)

        return hold

    def _keeping(self, event_class: type[Event], fields: tuple[str, ...], attributes: _Attributes) -> Act:
        latest = self._last.latest(event_class, fields)

        def keep(event: Event, timestamp_ns: int) -> None:
            latest[attributes(event)] = (event, timestamp_ns)

        return keep

    def _attributes(self, projected: Projected, scope: tuple[str, str]) -> _Attributes:
        """Getter of the attributes of a signal's points from an event."""
        if not projected.fields:
            return lambda _: scope
        get, names, number, known = attrgetter(*projected.fields), projected.names, next(self._numbers), self._known
        if len(names) == 1:

            def read_one(event: Event) -> AttributeValues:
                raw = get(event)
                try:
                    return known[number, raw, type(raw)]
                except (KeyError, TypeError):
                    return self._bounded(names, (raw,), scope, (number, raw, type(raw)))

            return read_one

        def read(event: Event) -> AttributeValues:
            raw = get(event)
            key = (number, raw, *map(type, raw))  # with the types, since True == 1 and 1 == 1.0 print differently
            try:
                return known[key]
            except (KeyError, TypeError):
                return self._bounded(names, raw, scope, key)

        return read

    def _bounded(
        self, names: tuple[str, ...], raw: tuple[Any, ...], scope: tuple[str, str], key: tuple[Any, ...]
    ) -> AttributeValues:
        """The bounded attribute values for ``raw``, cached under ``key`` if possible."""
        bound = self._limits.bound
        values = (*scope, *[bound(name, value) for name, value in zip(names, raw, strict=True)])
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        with contextlib.suppress(TypeError):  # a value that cannot be a key: only in an event made in this process
            self._known[key] = values
        return values
