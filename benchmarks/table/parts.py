"""Parts of a page that a benchmark writes between two marks, beside words that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- {}: written by {} -->\n"
END: Final = "<!-- end of {} -->\n"


def give(name: str, by: str, text: str, path: Path | None) -> None:
    """Print a part, or write it into a page between its marks; ``by`` is the module that writes it.

    Raises:
        ValueError: the page has no such marks.
    """
    if path is None:
        print(text)
        return
    begin, end = BEGIN.format(name, by), END.format(name)
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path} has no part {name!r}: expected a line {begin.strip()!r} and a line {end.strip()!r}")
    path.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")
