"""The two events that every way records: a decision with 40 values and a policy update with some 160 numbers.

The numbers differ from event to event and have all their digits, as in training. Each way is charged for bringing them
into the form that it takes, ours for building the event by keyword as a trainer does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from benchmarks.emit import HEADS
from esper_otel.events import Decision, Event, PolicyUpdate

POOL: Final = 256
"""Different sets of numbers, taken in turn."""

FLOAT_HEADS: Final = (
    "head_entropy",
    "head_grad_norm",
    "head_kl",
    "head_clip_fraction",
    "head_active_ratio",
    "head_ratio_max",
)
"""Maps of a policy update that hold one number for each head."""

Numbers = tuple[float, ...]


class Payload(msgspec.Struct, frozen=True):
    """One kind of event.

    Attributes:
        name: for the table.
        names: names of the numbers, a map's as ``field.key``.
        pool: sets of numbers, in the order of ``names``.
        build: makes our event of a set of numbers.
        texts: fields that are no numbers, with their values.
        calls: makes a function of a set of numbers that calls another with the fields as keywords.
    """

    name: str
    names: tuple[str, ...]
    pool: list[Numbers]
    build: Callable[[Numbers], Event]
    texts: dict[str, str]
    calls: Callable[[Callable[..., Any]], Callable[[Numbers], Any]]


def decision() -> Payload:
    """A decision: 8 numbers, 8 texts, 24 values by head."""
    plain = ("episode_idx", "inner_epoch", "action_confidence", "decision_entropy", "value_estimate", "total_reward")
    names = (*plain, "alpha_target", *_by_head("head_confidence"), *_by_head("head_choice_entropy"))
    return Payload("decision", names, _pool(names), _decision(Decision), _TEXTS, _decision)


def policy_update() -> Payload:
    """A policy update: every number that it may hold, and six maps by head."""
    hints = get_type_hints(PolicyUpdate, include_extras=True)
    single = [name for name in PolicyUpdate.__struct_fields__ if _holds(hints[name], float)]
    names = (*single, *[key for field in FLOAT_HEADS for key in _by_head(field)])

    def calls(make: Callable[..., Any]) -> Callable[[Numbers], Any]:
        return _by_keyword(make, single)

    return Payload("policy update", names, _pool(names), calls(PolicyUpdate), {}, calls)


PAYLOADS: Final[dict[str, Callable[[], Payload]]] = {"decision": decision, "policy update": policy_update}

_TEXTS: Final = {
    "action_name": "GERMINATE",
    "slot_id": "r0c1",
    "blueprint_id": "conv_light",
    "style": "sigmoid_add",
    "blend_id": "sigmoid",
    "alpha_speed": "FAST",
}


def _decision(make: Callable[..., Any]) -> Callable[[Numbers], Any]:
    return lambda values: make(
        env_id=3,
        episode_idx=int(values[0]),
        inner_epoch=int(values[1]),
        action_name="GERMINATE",
        action_success=True,
        action_confidence=values[2],
        decision_entropy=values[3],
        value_estimate=values[4],
        total_reward=values[5],
        slot_id="r0c1",
        blueprint_id="conv_light",
        style="sigmoid_add",
        blend_id="sigmoid",
        tempo_idx=1,
        alpha_target=values[6],
        alpha_speed="FAST",
        head_confidence=dict(zip(HEADS, values[7:15], strict=True)),
        head_choice_entropy=dict(zip(HEADS, values[15:23], strict=True)),
        head_forced=dict.fromkeys(HEADS, False),
    )


def _by_keyword(make: Callable[..., Any], single: list[str]) -> Callable[[Numbers], Any]:
    """A function that names every field in its source, like handwritten code, which is the fastest form."""
    arguments = [f"{name}=v[{at}]" for at, name in enumerate(single)]
    width = len(HEADS)
    for position, field in enumerate(FLOAT_HEADS):
        begin = len(single) + position * width
        arguments.append(f"{field}=dict(zip(HEADS, v[{begin}:{begin + width}]))")
    built: Callable[[Numbers], Any] = eval(f"lambda v: make({', '.join(arguments)})", {"make": make, "HEADS": HEADS})
    return built


def _by_head(field: str) -> tuple[str, ...]:
    return tuple(f"{field}.{head}" for head in HEADS)


def _holds(hint: Any, kind: type) -> bool:
    """Return True if a field declared as ``hint`` takes single values of ``kind``."""
    return kind in set(_members(hint))


def _members(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from _members(get_args(hint)[0])
    elif get_origin(hint) is None:
        yield hint
    elif get_origin(hint) not in {dict, tuple, list}:
        for member in get_args(hint):
            yield from _members(member)


def _pool(names: tuple[str, ...]) -> list[Numbers]:
    numbers = random.Random(7)
    return [tuple(numbers.uniform(0.01, 9.0) for _ in names) for _ in range(POOL)]
