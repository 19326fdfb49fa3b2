"""Selection of our events for a line, by its type (and a snapshot's kind)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from esper_otel.esper_lite.dialect.table import REQUIRED, SNAPSHOT
from esper_otel.events import (
    EVENT_TYPES,
    Decision,
    EpisodeOutcome,
    Event,
    HeuristicEpisode,
    ObservationStats,
    PolicyUpdate,
    RewardComputed,
    UpdateSkipped,
)

Payload = Mapping[str, Any]

IDENTITY: Final = ("env_id", "episode_idx", "inner_epoch")
"""Fields that a nested event inherits from the outer payload."""

OF_THE_DECISION: Final = ("action_name", "action_success")
"""What a reward takes over from its decision: in January 2026 it said what came of an operation that failed, WAIT."""

_NOT_THE_DECISION: Final = frozenset({*IDENTITY, "kind", "reward_components", "observation_stats"})

CONSUMED: Final = frozenset({"kind", "skipped", "update_skipped"})
"""Names that choose the recipe and are fields of no event."""


def always(payload: Payload) -> bool:
    """Condition of a part that every payload has."""
    return True


def _skipped(payload: Payload) -> bool:
    return any(payload.get(name) is True for name in ("skipped", "update_skipped", "skipped_update"))


def _not_skipped(payload: Payload) -> bool:
    return not _skipped(payload)


def _decides(payload: Payload) -> bool:
    """Condition of a decision: a reward may come without it."""
    return "reward_components" not in payload or any(
        value is not None for name, value in payload.items() if name not in _NOT_THE_DECISION
    )


class Part(NamedTuple):
    """One event of a line.

    Attributes:
        cls: its class.
        nested: name of the inner object that holds its fields; None when they are the payload's own.
        when: condition for a payload to have this part.
        fill: values of fields that the line lacks.
        foreign_only: our own logs carry this event on a line of its own.
    """

    cls: type[Event]
    nested: str | None = None
    when: Callable[[Payload], bool] = always
    fill: Payload = MappingProxyType({})
    foreign_only: bool = False


_UNSPECIFIED: Final = MappingProxyType({"reason": "unspecified"})
_OBSERVATIONS: Final = Part(ObservationStats, nested="observation_stats", foreign_only=True)

_SPECIAL: Final[Mapping[str, tuple[Part, ...]]] = {
    "PPO_UPDATE_COMPLETED": (
        Part(PolicyUpdate, when=_not_skipped),
        Part(UpdateSkipped, when=_skipped, fill=_UNSPECIFIED),
    ),
    f"{SNAPSHOT}:batch_stats": (Part(UpdateSkipped, when=_skipped, fill=_UNSPECIFIED, foreign_only=True),),
    f"{SNAPSHOT}:heuristic_episode": (Part(HeuristicEpisode), Part(EpisodeOutcome, foreign_only=True)),
    f"{SNAPSHOT}:last_action": (
        Part(Decision, when=_decides),
        Part(RewardComputed, nested="reward_components"),
        _OBSERVATIONS,
    ),
    "EPOCH_COMPLETED": (_OBSERVATIONS,),
}
"""Parts beside the event that bears the line's name, or instead of it."""


def legacy_key(cls: type[Event]) -> str | None:
    """Name of events of ``cls`` in esper-lite's log, ``ANALYTICS_SNAPSHOT:kind`` for a snapshot."""
    if cls.legacy_type is None:
        return None
    return cls.legacy_type if cls.legacy_kind is None else f"{cls.legacy_type}:{cls.legacy_kind}"


def _build() -> dict[str, tuple[Part, ...]]:
    recipes: dict[str, tuple[Part, ...]] = {name: (Part(cls),) for name, cls in EVENT_TYPES.items()}
    for cls in EVENT_TYPES.values():
        key = legacy_key(cls)
        if key is not None and cls not in {part.cls for part in _SPECIAL.get(key, ())}:
            recipes[key] = (Part(cls),)
    for key, parts in _SPECIAL.items():
        recipes[key] = (*recipes.get(key, ()), *parts)
    return recipes


RECIPES: Final[Mapping[str, tuple[Part, ...]]] = _build()
"""The parts of a line by its key; the first is the event that the line is about."""


@cache
def legacy_types() -> frozenset[type[Event]]:
    """The events that esper-lite has a form for."""
    spelled = {*(key for key in map(legacy_key, EVENT_TYPES.values()) if key), *REQUIRED, *_SPECIAL}
    return frozenset(part.cls for key in spelled for part in RECIPES.get(key, ()))
