"""The declaration of a user's own event class as data: the payload of a log's ``EVENT_DECLARED``.

A class becomes a :class:`Declaration`, and a declaration a class with the same fields, in a process that cannot
import the first one: the relay, a reader on another machine, a year later. What a log declares is as foreign as the log
itself. The rules of the contract apply to it, and its size is bounded.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import inspect

from esper_otel.events.declare import (
    EVENT_TYPES,
    Domain,
    Event,
    Field,
    Instrument,
    Metric,
    Severity,
    Threshold,
    Tier,
    otel_event_name,
)
from esper_otel.signals.attributes import ATTRIBUTES, BASE_ATTRIBUTES
from esper_otel.signals.own import OWN_SIGNALS
from esper_otel.signals.registry import SIGNALS, Signal, SignalError, build, declared_fields

MAX_FIELDS: Final = 200
MAX_METRICS: Final = 200
MAX_ATTRIBUTES: Final = 3
"""Metric attributes of an event of a user's own, a map's key included, beside group and rank."""

MAX_BOUNDS: Final = 40
MAX_TEXT: Final = 500
MAX_BYTES: Final = 64 * 1024
"""Longest declaration as JSON text."""

_TYPES: Final[dict[str, Any]] = {
    "number": float,
    "whole": int,
    "flag": bool,
    "text": str,
    "numbers": dict[str, float],
    "wholes": dict[str, int],
    "flags": dict[str, bool],
    "texts": dict[str, str],
}
"""Types of fields by their names in a declaration; those in the plural are maps."""

_NAME_OF: Final = {repr(inspect.type_info(type_)): name for name, type_ in _TYPES.items()}
_EVENT_TYPE: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED: Final = frozenset({"instance", "job", "le", "quantile", "run", "run_id", *BASE_ATTRIBUTES})
"""Names that Prometheus, or the exposition of a run, gives a meaning of its own."""


class FieldDeclaration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field: its name, the name of its type, and its :class:`~esper_otel.events.declare.Field`."""

    name: str
    type: str
    description: str
    tier: Tier = Tier.LOW
    metrics: tuple[Metric, ...] = ()
    key: str | None = None
    limits: Threshold | None = None


class Declaration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event class; see :class:`~esper_otel.events.declare.Event`."""

    event_type: str
    domain: Domain
    description: str
    severity: Severity = Severity.INFO
    attributes: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    fields: tuple[FieldDeclaration, ...] = ()

    def text(self) -> str:
        """The declaration as JSON text."""
        return msgspec.json.encode(self).decode()


def declaration_of(cls: type[Event]) -> Declaration:
    """The declaration of a user's own event class.

    Raises:
        SignalError: the class breaks a rule; the message names class and field and what would be right.
    """
    types = {field.name: field for field in inspect.type_info(cls).fields}  # type: ignore[attr-defined]  # of a Struct
    fields = tuple(
        FieldDeclaration(
            name=name,
            type=_type_name(f"{cls.__name__}.{name}", types[name].type),
            description=declared.description,
            tier=declared.tier,
            metrics=declared.metrics,
            key=declared.key,
            limits=declared.limits,
        )
        for name, (_, declared) in declared_fields(cls).items()
    )
    found = Declaration(
        event_type=cls.event_type,
        domain=cls.domain,
        description=(cls.__doc__ or "").strip().split("\n", 1)[0],
        severity=cls.severity,
        attributes=cls.attributes,
        metrics=cls.metrics,
        fields=fields,
    )
    class_of(found)
    return found


def parse(text: str) -> Declaration:
    """The declaration in ``text``.

    Raises:
        SignalError: it is none.
    """
    if len(text) > MAX_BYTES:
        raise SignalError(f"a declaration has at most {MAX_BYTES} bytes, not {len(text)}")
    try:
        return msgspec.json.decode(text, type=Declaration)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SignalError(f"the declaration cannot be read: {error}") from None


def class_of(declaration: Declaration) -> tuple[type[Event], tuple[Signal, ...]]:
    """A class with the fields of ``declaration``, all optional, and its signals.

    Raises:
        SignalError: the declaration breaks a rule; the message names event and field and what would be right.
    """
    _check(declaration)
    fields: list[Any] = [
        (
            field.name,
            Annotated[
                _TYPES[field.type] | None,
                Field(
                    description=field.description,
                    tier=field.tier,
                    metrics=field.metrics,
                    key=field.key,
                    limits=field.limits,
                ),
            ],
            None,
        )
        for field in declaration.fields
    ]
    name = "".join(word.capitalize() for word in declaration.event_type.split("_"))
    cls = msgspec.defstruct(
        name,
        fields,
        bases=(Event,),
        namespace={"__doc__": declaration.description},
        module=__name__,
        frozen=True,
        kw_only=True,
        omit_defaults=True,
        forbid_unknown_fields=True,
    )
    assert issubclass(cls, Event)
    cls.event_type = declaration.event_type
    cls.domain = declaration.domain
    cls.otel_name = otel_event_name(declaration.event_type, declaration.domain)
    cls.severity = declaration.severity
    cls.attributes = declaration.attributes
    cls.metrics = declaration.metrics
    signals = build({declaration.event_type: cls}, open_attributes=_open_attributes(declaration))
    _check_signals(declaration.event_type, signals)
    return cls, signals


def _type_name(where: str, node: inspect.Type) -> str:
    choices = [choice for choice in getattr(node, "types", (node,)) if not isinstance(choice, inspect.NoneType)]
    name = _NAME_OF.get(repr(choices[0])) if len(choices) == 1 else None
    if name is None:
        raise SignalError(
            f"{where}: a field of your own is a float, int, bool, str or a dict[str, …] of one of these, or None"
        )
    return name


def _check(declaration: Declaration) -> None:
    where = declaration.event_type[:MAX_TEXT]
    fields = declaration.fields
    metrics = [*declaration.metrics, *(metric for field in fields for metric in field.metrics)]
    names = [field.name for field in fields]
    used = {*declaration.attributes, *(name for metric in metrics for name in metric.attributes)}
    texts = [declaration.description, *(field.description for field in fields), *(m.description or "" for m in metrics)]
    problems = [
        text
        for is_broken, text in (
            (not _EVENT_TYPE.fullmatch(where), "the event type must be upper-case words joined by one '_'"),
            (where in EVENT_TYPES, "the contract has an event of that type"),
            (len(where) > 100, "the event type is longer than 100 characters"),
            (len(fields) > MAX_FIELDS, f"{len(fields)} fields, at most {MAX_FIELDS}"),
            (len(metrics) > MAX_METRICS, f"{len(metrics)} metrics, at most {MAX_METRICS}"),
            (max(map(len, texts)) > MAX_TEXT, f"a description is longer than {MAX_TEXT} characters"),
            (len(set(names)) != len(names), "two fields have the same name"),
            (not used <= set(names), f"attributes {', '.join(sorted(used - set(names)))} are no fields"),
            (
                any(len(metric.bounds) > MAX_BOUNDS for metric in metrics),
                f"a histogram has at most {MAX_BOUNDS} bounds",
            ),
            (
                any(metric.instrument is Instrument.STATE for metric in metrics),
                "state() is for the contract's own sets",
            ),
        )
        if is_broken
    ]
    problems += [f"{name[:MAX_TEXT]!r} is no field name" for name in names if not _FIELD.fullmatch(name)]
    problems += [f"field {field.name!r} has no known type" for field in fields if field.type not in _TYPES]
    taken = sorted({*used, *(field.key for field in fields if field.key)} & _RESERVED)
    problems += [f"an attribute cannot be called {name!r}, which has a meaning of its own" for name in taken]
    if problems:
        raise SignalError(f"{where}: {'; '.join(problems[:5])}")


def _open_attributes(declaration: Declaration) -> frozenset[str]:
    keys = [field.key for field in declaration.fields if field.key and _FIELD.fullmatch(field.key)]
    return frozenset(name for name in (*(field.name for field in declaration.fields), *keys) if name not in ATTRIBUTES)


def _check_signals(where: str, signals: tuple[Signal, ...]) -> None:
    names = [signal.prometheus_name for signal in signals]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SignalError(f"{where}: two metrics are {twice[0]} in Prometheus; give one another name")
    for signal in signals:
        if signal.name in _TAKEN or signal.prometheus_name in _TAKEN:
            raise SignalError(f"{where}: metric {signal.name!r} is one of the contract; give it another name")
        own = len(signal.attributes) - len(BASE_ATTRIBUTES)
        if own > MAX_ATTRIBUTES:
            raise SignalError(f"{where}: metric {signal.name!r} has {own} attributes, at most {MAX_ATTRIBUTES}")


_TAKEN: Final = frozenset(
    {name for signal in SIGNALS for name in (signal.name, signal.prometheus_name)}
    | {name for signal in OWN_SIGNALS for name in (signal.name, signal.prometheus_name)}
)
