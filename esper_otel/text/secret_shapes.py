"""Tokens recognised by their shape."""

from __future__ import annotations

import re
from typing import Final

_PREFIXED: Final = (
    r"gh[pousr]_[A-Za-z0-9]{4,}",  # GitHub
    r"github_pat_\w{4,}",
    r"gl(?:pat|dt|rt|ptt|soat|cbt|ft|agent)-[\w-]{4,}",  # GitLab
    r"hf_(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{8,}(?!\w)",  # Hugging Face
    r"sk-(?:proj|ant|svcacct|admin|or|lf)-[\w-]{8,}",  # OpenAI, Anthropic
    r"sk-(?=[A-Za-z]*[0-9])[A-Za-z0-9_]{8,}(?![\w-])",
    r"[rs]k_(?:live|test)_\w{4,}",  # Stripe
    r"(?:gsk|r8|npm|dop_v1|lin_api|dckr_pat|wandb_v\d+|lsv2_[a-z]{2}|shp[a-z]{2}|pcsk|rpa|figd|sntrys|glsa|glc)_[\w-]{8,}",
    r"(?:nvapi|pypi|tvly|xai|pplx|tskey|GOCSPX|NRAK|NRII|sq0[a-z]{3}|pul)-[\w-]{8,}",
    r"xox[a-z](?:\.xox[a-z])?-[\w-]{4,}",  # Slack
    r"xapp-[\w-]{4,}",
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{8,}",  # AWS
    r"AIza[\w-]{16,}",  # Google
    r"ya29\.[\w-]{8,}",
    r"hv[sbr]\.[\w-]{8,}",  # Vault
    r"dapi[0-9a-f]{32}",  # Databricks
    r"SK[0-9a-f]{32}",  # Twilio
    r"[0-9]{8,10}:AA[\w-]{30,}",  # Telegram
    r"SG\.[\w-]{8,}(?:\.[\w-]+)?",  # SendGrid
    r"eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?",  # JSON web tokens
    r"AGE-SECRET-KEY-\w+",
)
_TOKEN: Final = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_PREFIXED)})")
_KEY_BLOCK: Final = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----).*", re.DOTALL)
_WEBHOOK: Final = re.compile(
    r"((?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks"
    r"|[\w.-]+\.webhook\.office\.com|api\.telegram\.org)/)[^\s\"']+"
)
_SCHEME: Final = re.compile(
    r"\b((?:Bearer|Basic|Digest|password|passwd|passphrase|secret|token)\s+|\blogin\s+\S+\s+password\s+)"
    r"(?![A-Za-z][a-z]*[\W_]*(?:[\s,;\"']|$))([^\s,;\"']{4,})",
    re.IGNORECASE,
)
"""A scheme of HTTP authentication, or a word of netrc, with the secret behind it; no plain word of a sentence."""

_RANDOM: Final = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{20,}={0,2}(?![A-Za-z0-9+/=])")
_CHUNK: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LONGEST_CHUNK: Final = 2.2
"""Characters in a row that look like a word or a number: 1.9 on average in random text, above 2.2 in names."""


def hide_shapes(text: str, hidden: str) -> str:
    """``text`` with ``hidden`` in place of tokens of well-known services, keys, webhooks and authentication."""
    text = _KEY_BLOCK.sub(rf"\g<1>{hidden}", text)
    text = _WEBHOOK.sub(rf"\g<1>{hidden}", text)
    text = _TOKEN.sub(hidden, text)
    text = _SCHEME.sub(rf"\g<1>{hidden}", text)
    return _RANDOM.sub(lambda found: hidden if _is_random(found[0]) else found[0], text)


def _is_random(text: str) -> bool:
    """Return True if ``text`` mixes capitals, small letters and digits as only a generated key does."""
    chunks = _CHUNK.findall(text)
    has_all = all(any(test(char) for char in text) for test in (str.isupper, str.islower, str.isdigit))
    return has_all and sum(map(len, chunks)) < _LONGEST_CHUNK * len(chunks)
