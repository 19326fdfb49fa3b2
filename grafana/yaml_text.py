"""YAML that reads well: block style, long expressions as literal blocks, other text quoted."""

import re
from typing import Any, Final

import yaml

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*|[0-9]+(ms|s|m|h|d)")
_WORDS_OF_YAML: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_ONE_LINE: Final = 1_000_000


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key, repeats what occurs twice, and quotes text unless it is one harmless word."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    is_plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None if is_plain else '"'
    )


_Dumper.add_representer(str, _text)


def to_yaml(value: Any, comment: str = "") -> str:
    """``value`` as a document; ``comment`` becomes the lines before it.

    Raises:
        yaml.representer.RepresenterError: a value is no plain data.
    """
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return head + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_ONE_LINE)
