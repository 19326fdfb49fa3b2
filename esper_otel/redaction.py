"""Keeping secrets out of what is stored and said: tokens in arguments, in addresses and in messages of libraries."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

HIDDEN: Final = "***"

_SECRET_WORD: Final = re.compile(
    r"apikey|auth(?:orization)?|bearer|credentials?|key|pass(?:phrase|wd|word)?|pwd|secrets?|token", re.IGNORECASE
)
_WORD_ENDS: Final = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_USER_INFO: Final = re.compile(r"(//)[^/@\s]{1,300}@|[^/@:\s]{1,300}:[^/@\s]{1,300}@")
_QUERY: Final = re.compile(r"\?[^\s\"')]+")
_HEADERS: Final = re.compile(r"OTEL_EXPORTER_OTLP_(?:[A-Z]+_)?HEADERS")
_SHORTEST: Final = 4
"""Characters of the shortest value that is searched for: shorter ones stand in innocent words."""


def redacted_arguments(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the values of those hidden whose name says that they are secret, and users in addresses."""
    shown: list[str] = []
    is_value = False
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if is_value and not argument.startswith("-"):
            shown.append(HIDDEN)
        elif separator and value and _is_secret(name):
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(_USER_INFO.sub(rf"\g<1>{HIDDEN}@", argument))
        is_value = not separator and argument.startswith("-") and _is_secret(name)
    return shown


def redacted_url(url: str) -> str:
    """``url`` without user, password and query, where tokens stand."""
    return _QUERY.sub("", _USER_INFO.sub(r"\g<1>", url))


def redacted_text(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``text`` without values of OTEL_EXPORTER_OTLP_HEADERS, users in addresses and queries."""
    for secret in sorted(_header_values(os.environ if environment is None else environment), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _QUERY.sub(f"?{HIDDEN}", _USER_INFO.sub(rf"\g<1>{HIDDEN}@", text))


def _is_secret(name: str) -> bool:
    return any(_SECRET_WORD.fullmatch(word) for word in _WORD_ENDS.split(name))


def _header_values(environment: Mapping[str, str]) -> Iterator[str]:
    for variable, text in environment.items():
        if not _HEADERS.fullmatch(variable):
            continue
        for entry in text.split(","):
            value = re.split(r"[=:]", entry, maxsplit=1)[-1].strip()
            for form in {value, unquote(value), *unquote(value).split()}:
                if len(form.strip()) >= _SHORTEST:
                    yield from {form.strip(), repr(form.strip())[1:-1]}
