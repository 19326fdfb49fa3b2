"""Writes plain data as YAML that reads well: block style, long expressions as literal blocks, other text quoted.

Only what configurations consist of is supported: dicts with text keys, lists, text, numbers and booleans.
"""

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*|[0-9]+(ms|s|m|h|d)")
_WORDS_OF_YAML = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def to_yaml(value: Any, comment: str = "") -> str:
    """``value`` as a document; ``comment`` becomes the lines before it.

    Raises:
        TypeError: a value is of a type that is not supported.
    """
    head = [f"# {line}".rstrip() for line in comment.splitlines()]
    return "\n".join([*head, *_block(value)]) + "\n"


def _block(value: Any) -> list[str]:
    if isinstance(value, dict) and value:
        return [line for key, entry in value.items() for line in _entry(f"{_text(key)}:", entry)]
    if isinstance(value, list) and value:
        return [line for entry in value for line in _item(entry)]
    return [_scalar(value)]


def _entry(head: str, value: Any) -> list[str]:
    if isinstance(value, str) and "\n" in value:
        return [f"{head} |-", *(f"  {line}".rstrip() for line in value.splitlines())]
    if isinstance(value, dict | list) and value:
        return [head, *(f"  {line}" for line in _block(value))]
    return [f"{head} {_scalar(value)}"]


def _item(value: Any) -> list[str]:
    first, *rest = _block(value)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if value in ({}, []):
        return "{}" if value == {} else "[]"
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be written")


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    return json.dumps(value, ensure_ascii=False)
