"""Removal of secrets from stored and printed text: tokens in arguments, addresses and messages of libraries.

When in doubt a value is hidden: losing a harmless value costs little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from esper_otel.text.secret_names import is_secret, takes_several
from esper_otel.text.secret_shapes import hide_shapes

HIDDEN: Final = "***"

_USER_INFO: Final = re.compile(
    r"""(//)(?:[^/\s"']{1,300}|[^/@\s"':]{0,300}:[^\s"']{1,300})@|[^/@:\s"'=]{1,300}:[^/@\s"']{1,300}@(?!sha256:)"""
)
"""Users and passwords in addresses; a colon and an at sign also stand in ``image:tag@sha256:…``."""

_QUERY: Final = re.compile(r"\?[^\s\"')]+")
_HEADERS: Final = re.compile(r"OTEL_EXPORTER_OTLP_(?:[A-Z]+_)?HEADERS")
_SHORTEST: Final = 4
"""Minimum length of a value that is searched for: shorter ones occur in ordinary words."""

_ASSIGNED: Final = re.compile(r"(?P<name>[-+~/]*[A-Za-z_][\w.\-/]*)(?P<separator>\s*[=:]\s*)(?P<value>.+)", re.DOTALL)
_PAIR: Final = re.compile(
    r"""(?P<name>[^\W\d][\w.\-]*)(?P<separator>\\?["']?\]?\s{0,99}(?:=>|[=:]|(?<=\w)>)\s{0,99}(?:[|>][-+]?\n\s{0,99})?)"""
    r"""(?P<value>-\s[^\n]+(?:\n\s{0,99}-\s[^\n]+)*|(?i:Bearer|Basic|Digest|Token|ApiKey)\s+[^\s,;&"'}\])]+"""
    r"""|\\?"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^{}]*\}|[^\s,;&"'}\])<]+)"""
)
"""A name and its value in JSON, YAML, XML, Python, queries and headers, with the scheme of an authentication."""

_OPTION: Final = re.compile(
    r"""(?P<option>(?<!\S)--?[A-Za-z][\w.\-]*)(?P<gap>\s+)(?P<value>"[^"]*"|'[^']*'|[^\s"']+)"""
)
"""An option and its value within one argument: a command for a shell."""

_LOGIN: Final = re.compile(r"-u|-U|--?(?:[a-z-]*-)?(?:user|login|username|basic|auth)", re.IGNORECASE)
_ATTACHED: Final = re.compile(r"(?P<option>-[pPuU])=?(?P<value>[^=\s].+)", re.DOTALL)
_SHORT_SECRET: Final = re.compile(r"-[pkP]")
"""One-letter options that may take a password or key, but also a port, number or path."""

_SHOWN: Final = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?|(?:~|\.{0,2})/.*", re.IGNORECASE)
_WORD: Final = re.compile(r"[a-z]+(?:[_\-=.][a-z]*)*[0-9]{0,2}")


def redacted_arguments(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with secrets, recognised by name, address or shape, replaced by ``***``."""
    shown: list[str] = []
    option = ""
    is_first = True
    for argument in arguments:
        if option and not _is_option(argument):
            shown.append(_redacted_value(option, argument, is_first=is_first))
            is_first = False
        else:
            shown.append(_redacted_argument(argument))
            option, is_first = (argument, True) if _awaits_value(argument) else ("", True)
        if option and _is_scheme(argument):
            is_first = True  # Authorization: Bearer, and the secret in the next argument
    return shown


def redacted_url(url: str) -> str:
    """``url`` without user, password and query, which may contain tokens."""
    return _QUERY.sub("", _USER_INFO.sub(r"\g<1>", url))


def redacted_text(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``text`` without values of OTEL_EXPORTER_OTLP_HEADERS, users in addresses, queries and tokens of known shape."""
    for secret in sorted(_header_values(os.environ if environment is None else environment), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return hide_shapes(_QUERY.sub(f"?{HIDDEN}", _without_users(text)), HIDDEN)


def _is_option(argument: str) -> bool:
    """Return True if this is the next option: ``--name``, ``-n``, ``-n=…``; a secret may begin with a dash too."""
    return re.match(r"--[A-Za-z]|-[A-Za-z](?:$|=)", argument) is not None


def _awaits_value(argument: str) -> bool:
    """Return True for an option, or the name of a header, whose value is the next argument."""
    is_option = argument.startswith("-") and re.search(r"[=:]", argument) is None
    return is_option or re.fullmatch(r"[A-Za-z][\w-]*:", argument) is not None


def _is_scheme(argument: str) -> bool:
    return argument.lower() in {"bearer", "basic", "token", "digest"}


def _redacted_value(option: str, argument: str, *, is_first: bool) -> str:
    """An argument after ``option``; an option with several values has more than one."""
    if is_first and _SHORT_SECRET.fullmatch(option):
        return argument if _SHOWN.fullmatch(argument) else HIDDEN
    if is_secret(option, argument) and (is_first or takes_several(option)):
        return HIDDEN
    if is_first and _LOGIN.fullmatch(option) and ":" in argument:
        return f"{argument.partition(':')[0]}:{HIDDEN}"
    return _redacted_argument(argument)


def _redacted_attached(argument: str) -> str | None:
    """An option with its value in one argument, ``-psecret`` or ``--user=name:secret``; None if it is none of these."""
    attached = _ATTACHED.fullmatch(argument)
    if attached is not None and not _WORD.fullmatch(attached["value"]):
        option, value = attached["option"], attached["value"]
    elif argument.startswith("--") and "=" in argument:
        option, _, value = argument.partition("=")
        if not _LOGIN.fullmatch(option):
            return None
    else:
        return None
    shown = _redacted_value(option, value, is_first=True)
    return None if shown == value else argument.removesuffix(value) + shown


def _redacted_argument(argument: str) -> str:
    attached = _redacted_attached(argument)
    if attached is not None:
        return attached
    assigned = _ASSIGNED.fullmatch(argument)
    if assigned is not None and is_secret(assigned["name"], assigned["value"]):
        return f"{assigned['name']}{assigned['separator']}{HIDDEN}"
    text = _OPTION.sub(_redacted_option, argument) if " " in argument else argument
    return hide_shapes("".join(_redacted_pairs(_without_users(text))), HIDDEN)


def _redacted_option(found: re.Match[str]) -> str:
    value = found["value"].strip("\"'")
    shown = _redacted_value(found["option"], value, is_first=True)
    return found[0] if shown == value else f"{found['option']}{found['gap']}{shown}"


def _redacted_pairs(text: str) -> Iterator[str]:
    """``text`` with sensitive values of its pairs hidden: JSON, queries, lists of settings."""
    at = 0
    while (pair := _PAIR.search(text, at)) is not None:
        begin = pair.start("value")
        yield text[at:begin]
        at = begin  # the value of a harmless name may hold a pair: --set=token=…
        if is_secret(pair["name"], pair["value"]):
            quote = next((mark for mark in ('\\"', '"', "'") if pair["value"].startswith(mark)), "")
            yield f"{quote}{HIDDEN}{quote}"
            at = pair.end()
    yield text[at:]


def _without_users(text: str) -> str:
    return _USER_INFO.sub(lambda found: f"{found[1] or ''}{HIDDEN}@", text)


def _header_values(environment: Mapping[str, str]) -> Iterator[str]:
    for variable, text in environment.items():
        if not _HEADERS.fullmatch(variable):
            continue
        for entry in text.split(","):
            value = re.split(r"[=:]", entry, maxsplit=1)[-1].strip()
            for form in {value, unquote(value), *unquote(value).split()}:
                if len(form.strip()) >= _SHORTEST:
                    yield from {form.strip(), repr(form.strip())[1:-1]}
