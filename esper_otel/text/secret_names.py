"""Names of options, variables and fields whose values are secrets."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

_ALWAYS: Final = re.compile(
    r"[a-z0-9]*(?:passw(?:or)?d|passphrase|passcode|secret|apikey|credential|bearer|webhook|privatekey|accesskey)[a-z0-9]*"
    r"|(?:db|user|admin|root|ssh|smtp|imap|ftp|http|proxy|redis|mysql|pg|store|key|vault)pass|[a-z]*pwd"
    r"|passwort|kennwort|contrase[nñ]a|senha|пароль"
    r"|authorization|pw|creds?|dsn|psk|otp|jwt|cookies?|token|[a-z]+token|netrc|connstr|connectionstring"
    r"|hmac|salt|mnemonic|seedphrase|recoveryphrase|[cx]srf"
)
"""Words that mark a secret on their own."""

_MOSTLY: Final = re.compile(
    r"auth|keys?|pass|pat|sas|sig|signature|tokens|conn|connection|session|oauth|login"
    r"|(?:wandb|hf|openai|anthropic|azure|aws|gcp|google|gemini|comet|neptune|auth|encryption|signing|master)keys?"
)
"""Words that name secrets, but also numbers, switches and ordinary words: --max-tokens 4k, --sort-key loss."""

_USUAL: Final = re.compile(
    r"(?:pad|eos|bos|unk|sep|cls|mask|image|video|audio|stop|start|end|special|prefix|suffix|eot|bot|n|num|max|min)tokens?"
    r"|(?:pad|eos|bos|unk|sep|cls|mask|image|video|audio|stop|start|end|special)tokenids?"
    r"|tokens?(?:type|dim|drop|dropout|len|length|lengths|level|budget|limit|count|prob|size|mean|embed|embedding"
    r"|embeddings|rate|mask|mixing|merging|shift|pos|position|positions|per)"
    r"|(?:token|key|password|secret|cert)(?:file|path|dir)"
    r"|(?:session|login|connection|conn)(?:name|node|nodes|timeout|type)"
)
"""Pairs of words that mean something else: a token of a vocabulary, the place of a secret, the name of a session."""

_HARMLESS: Final = re.compile(
    r"[-+]?[0-9]{0,7}(?:[_,][0-9]{3})*(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?[kmbgt]?|true|false|yes|no|on|off|none|null"
)
_WORDS: Final = re.compile(r"[\[({]?[a-z]{1,16}(?:[_/.,:\- ][a-z]{1,16}){0,4}[\])}]?|sig[a-z]{2,8}", re.IGNORECASE)
_PATH: Final = re.compile(r"(?:~|\.{0,2})/\S*|[A-Za-z]:\\\S*")
_VOCABULARY: Final = re.compile(r"(?:<[^\w\s<>]{0,2}\w[^<>\s]{0,40}>|\[[A-Z_]{1,20}\]|\W)+")
_SEVERAL: Final = re.compile(r"[a-z0-9]*(?:tokens|keys|secrets|passwords|credentials|cookies)")
_ENDS: Final = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[a-z])[0-9]+$|(?<=[a-z])[0-9]+(?=[\W_])")


def is_secret(name: str, value: str) -> bool:
    """Return True if ``value`` must be hidden because of its ``name``."""
    words = _words(name)
    bare = value.strip("\"'")
    if not bare or _VOCABULARY.fullmatch(bare):
        return False
    if any(_USUAL.fullmatch(word) for word in words) and _is_ordinary(bare):
        return False
    if any(_ALWAYS.fullmatch(word) for word in words):
        return True
    return any(_MOSTLY.fullmatch(word) for word in words) and not _is_ordinary(bare)


def takes_several(name: str) -> bool:
    """Return True if several values may follow ``name``."""
    return any(_SEVERAL.fullmatch(word) for word in _words(name))


def _is_ordinary(value: str) -> bool:
    """Return True for a number, a switch, a path, or up to five words without digits."""
    is_number = _HARMLESS.fullmatch(value.lower()) is not None
    return is_number or _WORDS.fullmatch(value) is not None or _PATH.fullmatch(value) is not None


def _words(name: str) -> list[str]:
    """Words of a name, and two or three adjacent words joined: api_key also matches apikey."""
    words = [word.lower() for word in _ENDS.split(name) if word]
    pairs = [first + second for first, second in pairwise(words)]
    return [*words, *pairs, *(first + second for first, second in zip(pairs, words[2:], strict=False))]
