"""Ways of running foreign code that our own code does not use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import ROOT

PACKAGES = ("esper_otel", "trainer", "deploy", "grafana", "scripts")
FORBIDDEN = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "tempfile.mktemp", "torch.load"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "xml.etree.ElementTree"}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def found_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in FORBIDDEN:
                yield f"{path.name}:{node.lineno} {ast.unparse(node.func)}"
            for keyword in node.keywords:
                if (keyword.arg, ast.unparse(keyword.value)) in {("shell", "True"), ("allow_pickle", "True")}:
                    yield f"{path.name}:{node.lineno} {keyword.arg}=True"
        if isinstance(node, ast.Import):
            yield from (
                f"{path.name}:{node.lineno} import {alias.name}" for alias in node.names if alias.name in MODULES
            )
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield f"{path.name}:{node.lineno} from {node.module}"


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    assert [] == [found for path in sources() for found in found_in(path)]


@pytest.mark.parametrize("text", ["import pickle", "eval('1')", "subprocess.run('ls', shell=True)", "torch.load('x')"])
def test_the_search_finds_what_it_looks_for(tmp_path: Path, text: str) -> None:
    (tmp_path / "module.py").write_text(text)

    assert list(found_in(tmp_path / "module.py"))
