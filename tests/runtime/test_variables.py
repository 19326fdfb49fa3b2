"""The table of environment variables against the code that reads them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from esper_otel.relay.otlp.metrics_export import DEFAULT_INTERVAL_MS
from esper_otel.relay.prometheus.endpoint import DEFAULT_HOST, DEFAULT_PORT
from esper_otel.runtime.relay_environment import OWN_VARIABLES
from esper_otel.runtime.settings import DEFAULT_LINGER_S
from esper_otel.runtime.variables import VARIABLES
from tests.tools import ROOT

ENVIRONMENT = re.compile(r"\b(?:env|environ|environment)\b")
NAME = re.compile(r"(?<![A-Z_])(?:ESPER_)?OTEL_[A-Z0-9_]*[A-Z0-9]")
NOT_SETTINGS = {
    *("COMPRESSION", "ENDPOINT", "HEADERS", "INSECURE", "PROTOCOL", "TIMEOUT"),
    *("COLUMNS", "PYTHONPATH", "QUERY_STRING", "REMOTE_ADDR", "REQUEST_METHOD"),
    *("HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "PATH_INFO"),
}
"""Ends of names, the terminal's width, a variable set for children of a process, and those of WSGI; no settings."""

TABLE = {variable.name: variable for variable in VARIABLES}
SPELLED = {
    name.replace("{SIGNAL}", signal)
    for variable in VARIABLES
    for name in {variable.name, *re.findall(r"`(OTEL_[A-Z_{}]+)`", variable.meaning)}
    for signal in ("TRACES", "METRICS", "LOGS")
}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "esper_otel").rglob("*.py")):
        if path.name != "variables.py":
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def texts(tree: ast.AST) -> Iterator[str]:
    """Constants of a module; what is inserted into an f-string is shown as ``{}``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)


def read_by_name(tree: ast.AST) -> Iterator[str]:
    """Names that are looked up in something that is called an environment, or handed to a reader of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ENVIRONMENT.search(ast.unparse(node)):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))
        if isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
            yield ast.unparse(node.slice).strip("'\"")


def test_every_variable_that_the_code_names_is_in_the_table() -> None:
    named = {name for _, tree in sources() for text in texts(tree) for name in NAME.findall(text)}
    assert sorted(name for name in named if not is_known(name)) == []
    assert {"ESPER_OTEL_GPUS", "OTEL_EXPORTER_PROMETHEUS_PORT"} <= named


def test_every_variable_that_is_looked_up_is_in_the_table() -> None:
    read = {name for _, tree in sources() for name in read_by_name(tree) if re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", name)}
    assert sorted(name for name in read - NOT_SETTINGS if name not in SPELLED) == []
    assert {"RANK", "CUDA_VISIBLE_DEVICES"} <= read


def test_every_variable_of_ours_in_the_table_is_read_somewhere() -> None:
    named = {name for _, tree in sources() for text in texts(tree) for name in NAME.findall(text)}
    assert {name for name in TABLE if name.startswith("ESPER_OTEL_")} == {
        n for n in named if n.startswith("ESPER_OTEL_")
    }


def test_the_variables_that_a_relay_knows_as_ours_are_those_of_the_table() -> None:
    assert sorted(OWN_VARIABLES) == sorted(name for name in TABLE if name.startswith("ESPER_OTEL_"))


def test_a_default_in_the_table_is_the_one_of_the_code() -> None:
    assert TABLE["ESPER_OTEL_LINGER"].default == f"`{DEFAULT_LINGER_S:g}`"
    assert TABLE["OTEL_EXPORTER_PROMETHEUS_HOST"].default == f"`{DEFAULT_HOST}`"
    assert TABLE["OTEL_EXPORTER_PROMETHEUS_PORT"].default == f"`{DEFAULT_PORT}`"
    assert TABLE["OTEL_METRIC_EXPORT_INTERVAL"].default == f"`{DEFAULT_INTERVAL_MS}`"


def is_known(name: str) -> bool:
    """A name of the table, or the beginning of several of them."""
    return name in SPELLED or any(known.startswith(f"{name}_") for known in SPELLED)
