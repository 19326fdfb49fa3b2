import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("esper_otel", "trainer", "grafana", "deploy", "benchmarks", "scripts", "examples")

FILES = [path for root in ROOTS for path in sorted((REPOSITORY / root).rglob("*.py"))]
CLAUSE = re.compile(r"(What|Where|Which|Whether|How|Who|When|Why)\b")
# Phrases that always have a plainer one: contains, is logged, is reported, may connect, starts over, continues.
IDIOMS = (
    "stands in the",
    "stands in a",
    "is said",
    "are said",
    "is told of",
    "are told of",
    "is let in",
    "begins anew",
    "goes on all the same",
    "by the way",
    "unless said",
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and first line of every docstring in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text.splitlines()[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_a_docstring_begins_with_a_noun_phrase_or_an_imperative_and_is_a_sentence(path: Path) -> None:
    found = [f"{path}:{line}: {text}" for line, text in docstrings(path) if CLAUSE.match(text) or text[-1] not in ".:"]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_text_avoids_phrases_that_have_to_be_read_twice(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [
        f"{path}:{number}: {idiom!r}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        for idiom in IDIOMS
        if idiom in line.lower()
    ]
    assert not found, "\n".join(found)
