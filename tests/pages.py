"""Tables that a campaign writes into a page of evidence, between two comments."""

from __future__ import annotations

from pathlib import Path


def put(page: Path, name: str, text: str) -> None:
    """Replace what the page has between ``<!-- the NAME: begin -->`` and ``<!-- the NAME: end -->``.

    Raises:
        ValueError: the page has no such comments.
    """
    begin, end = f"<!-- the {name}: begin -->", f"<!-- the {name}: end -->"
    content = page.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise ValueError(f"{page}: there is no '{begin}' with its '{end}'")
    before, _, rest = content.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
