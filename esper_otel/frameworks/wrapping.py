"""Replacement of a method of a framework by one that looks at the call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from esper_otel.frameworks.scalars import SCALARS

Look = Callable[..., None]
"""Gets what the method got; an exception in it is reported and ends the recording of numbers."""


def look_after(holder: type, name: str, look: Look, *, mutes: bool = False) -> None:
    """Call ``look`` after each call of the method ``name``; nothing where the class has none.

    ``mutes``: what the method logs further is not taken again.
    """

    def call(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = SCALARS.silently(lambda: original(*args, **kwargs)) if mutes else original(*args, **kwargs)
        _safely(look, args, kwargs)
        return result

    _replace(holder, name, call)


def look_before_and_mute(holder: type, name: str, look: Look) -> None:
    """Call ``look`` before each call of the method ``name``; what the method logs further is not taken again."""

    def call(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _safely(look, args, kwargs)
        return SCALARS.silently(lambda: original(*args, **kwargs))

    _replace(holder, name, call)


def _replace(holder: type, name: str, call: Callable[..., Any]) -> None:
    original = vars(holder).get(name)
    if not callable(original):
        return

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return call(original, args, kwargs)

    setattr(holder, name, replacement)


def _safely(look: Look, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        look(*args, **kwargs)
    except Exception as error:
        SCALARS.fail(error)
