"""Bounds for attribute values while they are counted."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from esper_otel.signals import custom
from esper_otel.signals.attributes import ATTRIBUTES, OVERFLOW, attribute_value, bound_of

MAX_LENGTH: Final = 128
"""Longest attribute value in characters; longer ones are cut, so that a hostile name cannot fill the memory."""

REMEMBERED: Final = 1_000
"""Folded values that are told apart per attribute; the count of folded values stops there."""


class AttributeLimits:
    """Maps raw values to bounded ones; what is beyond an attribute's bound becomes ``other`` and is remembered."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._known: defaultdict[str, dict[object, str]] = defaultdict(dict)
        self._admitted: defaultdict[str, set[str]] = defaultdict(set)
        self._folded: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def folded(self) -> dict[str, int]:
        """Number of different values folded into ``other``, by attribute."""
        return {name: len(values) for name, values in self._folded.items() if values}

    @property
    def admitted(self) -> dict[str, int]:
        """Number of different values that are exported, by attribute."""
        return {name: len(values) for name, values in self._admitted.items()}

    def bound(self, attribute: str, value: object) -> str:
        """The exported value of ``attribute``; an absent (None) value is the empty string."""
        if value is None:
            return ""
        # Keyed with the type, since True == 1 and 1 == 1.0 print differently.
        key = (value.__class__, value)
        try:
            known = self._known[attribute].get(key)
        except TypeError:
            return self._admit(attribute, (str, repr(value)), attribute_value(value)[:MAX_LENGTH])
        return known if known is not None else self._admit(attribute, key, attribute_value(value)[:MAX_LENGTH])

    def with_key(self, attribute: str | None, values: tuple[str, ...], key: str) -> tuple[str, ...]:
        """``values`` with the value of a map's key added, where the signal reads a map."""
        return values if attribute is None else (*values, self.bound(attribute, key))

    def _admit(self, attribute: str, key: object, text: str) -> str:
        declared = bound_of(attribute)
        admitted = self._admitted[attribute]
        fits = text in declared.values if declared.is_closed else text in admitted or len(admitted) < declared.limit
        if not fits:
            if len(self._folded[attribute]) < REMEMBERED:
                self._folded[attribute].add(text)
            return OVERFLOW
        admitted.add(text)
        self._known[attribute][key] = text
        return text

    def snapshot(self) -> dict[str, dict[str, list[str]]]:
        """Values seen so far; plain JSON."""
        return {
            "admitted": {name: sorted(values) for name, values in self._admitted.items() if values},
            "folded": {name: sorted(values) for name, values in self._folded.items() if values},
        }

    def restore(self, state: dict[str, dict[str, list[str]]]) -> None:
        """Continue from a snapshot, so that a restart admits the same values as before."""
        for mine, name in ((self._admitted, "admitted"), (self._folded, "folded")):
            for attribute, values in state[name].items():
                if attribute in ATTRIBUTES or custom.has_attribute(attribute):
                    mine[attribute] = set(values)
