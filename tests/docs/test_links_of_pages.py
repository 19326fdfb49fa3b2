"""Links of the pages: each leads to a file of the repository, and to a heading that this file has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELVES = ("start", "guides", "reference", "evidence")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"), *ROOT.glob("examples/*.md")]
)


def prose(page: Path) -> str:
    """Text of a page without its code, in which brackets are no links and # starts no heading."""
    text = re.sub(r"^( *)(```|~~~).*?^\1\2", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def links(page: Path) -> list[str]:
    without_code = re.sub(r"`[^`\n]*`", "", prose(page).replace("[`", "[").replace("`]", "]"))
    return re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", without_code)


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?)\s*#*$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        repeated = (f"{slug}-{count}" for count in range(1, len(found) + 2))
        found.add(slug if slug not in found else next(name for name in repeated if name not in found))
    return found


def is_local(link: str) -> bool:
    return re.match(r"[a-z]+:", link) is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in filter(is_local, links(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / link).resolve() for link in filter(is_local, links(index))}
    assert listed == {page for shelf in SHELVES for page in (ROOT / "docs" / shelf).glob("*.md")}


def test_a_page_stands_on_a_shelf() -> None:
    shelves = {page.relative_to(ROOT / "docs").parent.as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert shelves == {".", *SHELVES}
    assert [page.name for page in (ROOT / "docs").glob("*.md")] == ["index.md"]


@pytest.mark.parametrize(
    "tree", ["README.md", "docs", "deploy", "grafana", "esper_otel", "Makefile", "benchmarks", "tests"]
)
def test_every_path_of_a_page_in_texts_and_code_exists(tree: str) -> None:
    place = ROOT / tree
    files = (
        [place]
        if place.is_file()
        else [path for path in place.rglob("*") if path.suffix in {".md", ".py", ".yml", ".yaml", ".json"}]
    )
    named = {
        name for path in files for name in re.findall(r"\bdocs/[\w/.-]*\w\.md\b", path.read_text(encoding="utf-8"))
    }
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
