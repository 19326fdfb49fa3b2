"""The metrics and labels that a PromQL expression names, read from its text without the code that made it."""

import re

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAMES = re.compile(r'\{__name__=~"([\w|:]+)",([^}]*)\}')
_TIME = re.compile(r"\[[^\]]*\]|\b\d+(?:\.\d+)?(?:ms|s|m|h|d)?\b")
_CLAUSE = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?")
_WORDS = {"and", "or", "unless", "offset", "bool"}


def selectors_of(expression: str) -> list[tuple[str, set[str]]]:
    """Every metric with the labels that it is selected by; of alternatives, ``{__name__=~"one|other"}``, each."""
    expression = _NAMES.sub(lambda found: " ".join(f"{name}{{{found[2]}}}" for name in found[1].split("|")), expression)
    bare = _CLAUSE.sub(" ", _TEXT.sub('""', expression))
    bare = re.sub(r"\b([a-z_0-9]+)\s*\(", "(", _TIME.sub(" ", bare))
    return [
        (name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces)))
        for name, braces in _SELECTOR.findall(bare)
        if name not in _WORDS
    ]


def grouped_by(expression: str) -> set[str]:
    """Every label that an aggregation or a match names."""
    found = [labels for _, labels in _CLAUSE.findall(_TEXT.sub('""', expression))]
    return {label.strip() for labels in found for label in labels.split(",") if label.strip()}
