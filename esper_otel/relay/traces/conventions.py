"""OpenTelemetry's proposed names of reinforcement learning (``rl.*``), for those who ask for them.

The proposal (open-telemetry/semantic-conventions-genai, issue 88) may change, and so may these names with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from esper_otel.relay.encoding.attributes import AttributeValue

VARIABLE: Final = "ESPER_OTEL_SEMCONV_OPT_IN"

SPAN_NAMES: Final = {
    "simic.round": "rl.loop",
    "tamiyo.policy_update": "rl.train",
    "tolaria.episode": "rl.sample",
}
"""The proposal's name of each span that it has one for."""

RUN: Final = "rl.run.id"
SYSTEM: Final = "rl.system"
ITERATION: Final = "rl.loop.iteration"
_SERVICE: Final = "service.name"
_OUR_RUN: Final = "esper.run.id"


class Conventions(msgspec.Struct, frozen=True, kw_only=True):
    """Names of what is exported.

    Attributes:
        has_attributes: attributes of the proposal are added to ours.
        has_names: its spans have the proposal's names instead of ours.
    """

    has_attributes: bool = False
    has_names: bool = False

    def resource(self, attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        """Attributes to add to a resource; a system that the user names is kept."""
        if not self.has_attributes:
            return {}
        found = {RUN: attributes.get(_OUR_RUN), SYSTEM: attributes.get(SYSTEM) or attributes.get(_SERVICE)}
        return {name: value for name, value in found.items() if value is not None}

    def span(self, name: str, attributes: Mapping[str, AttributeValue]) -> tuple[str, dict[str, AttributeValue]]:
        """The name of a span and its attributes."""
        if not self.has_attributes or name not in SPAN_NAMES:
            return name, dict(attributes)
        more = {RUN: attributes[_OUR_RUN], ITERATION: attributes["esper.round"]}
        return SPAN_NAMES[name] if self.has_names else name, {**attributes, **more}


OURS: Final = Conventions()

_CHOICES: Final = {
    "rl": Conventions(has_attributes=True, has_names=True),
    "rl/dup": Conventions(has_attributes=True),
}


def conventions_of(env: Mapping[str, str], problems: list[str]) -> Conventions:
    """The names that ``ESPER_OTEL_SEMCONV_OPT_IN`` asks for; a value that is not known is added to ``problems``."""
    asked = env.get(VARIABLE, "").strip().lower()
    if asked and asked not in _CHOICES:
        problems.append(f"{VARIABLE}={asked}: expected {' or '.join(_CHOICES)}; names stay as they are")
    return _CHOICES.get(asked, OURS)
