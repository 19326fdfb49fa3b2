"""Waiting in tests: for what is asserted, with the one bound that a loaded machine does not reach."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.tools import ROOT
from tests.waiting import PATIENCE_S

ALLOWED = {
    "relay/test_handover.py: delivery.join(0.2)": "the delivery sleeps on for as long; ended by the next line",
    "relay/test_told_to_end.py: follower.wait(timeout=8)": "the relay delivers longer than the 5 s of a hurried end",
    "relay/test_service.py: server.wait(timeout=3)": "the relay does not end for three times as long as an idle one",
}
"""Short bounds by file and call, each with the reason why it is short."""

WAITS = {"wait", "join", "communicate"}
UNTIL = {"wait_for", "until"}
BOUNDS = {"timeout", "deadline_s", "timeout_s"}


def short(node: ast.expr | None) -> bool:
    """Return True for a number that a loaded machine may reach."""
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value < PATIENCE_S


def bounds_of(call: ast.Call) -> list[ast.expr]:
    """The expressions in a call that bound how long it waits."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    known = {"timeout"} | (BOUNDS if name in UNTIL else set())
    bounds = [keyword.value for keyword in call.keywords if keyword.arg in known]
    if name in UNTIL:
        bounds += call.args[2:3]
    elif isinstance(call.func, ast.Attribute) and name in {*WAITS, "timeout"}:  # the last one: pytest.mark.timeout(30)
        bounds += call.args[:1]
    return bounds


def too_short(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of what waits for less than the patience of the tests; a pause of a loop is not one."""
    pauses = {part for loop in ast.walk(tree) if isinstance(loop, ast.While) for part in ast.walk(loop.test)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node not in pauses and any(map(short, bounds_of(node))):
            yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PATIENCE_S" and short(node.value):
            yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.FunctionDef) and node.name in UNTIL:
            defaults = dict(zip(reversed(node.args.args), reversed(node.args.defaults), strict=False))
            for argument, default in defaults.items():
                if argument.arg in BOUNDS and short(default):
                    yield node.lineno, f"{node.name}(… {argument.arg}={ast.unparse(default)})"


@cache
def found() -> dict[str, int]:
    """Every short bound in the tests: file and call, and its line."""
    return {
        f"{path.relative_to(ROOT / 'tests')}: {text}": line
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, text in too_short(ast.parse(path.read_text(encoding="utf-8")))
    }


def test_no_test_gives_up_before_the_patience_of_all_tests_is_at_its_end() -> None:
    hasty = {place: line for place, line in found().items() if place not in ALLOWED}
    assert not hasty, "\n".join(f"line {line}: {place}" for place, line in hasty.items())


def test_every_short_bound_that_is_allowed_is_there() -> None:
    assert set(ALLOWED) <= set(found())


@pytest.mark.parametrize(
    "text",
    [
        "subprocess.run(command, timeout=60)",
        "child.communicate(timeout=30)",
        "child.wait(5)",
        "thread.join(20.0)",
        "wait_for(done, 'the end', 30)",
        "until(done, 'the end', deadline_s=30)",
        "pytest.mark.timeout(60)",
        "PATIENCE_S = 60.0",
        "def until(condition, deadline_s=60.0): ...",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert list(too_short(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "child.communicate(timeout=PATIENCE_S)",
        "child.wait()",
        "', '.join(names)",
        "while not stop.wait(0.05): pass",
        "esper_otel.shutdown(timeout_s=0.2)",
        "requests.get(url, timeout=900)",
    ],
)
def test_the_search_leaves_alone_what_is_patient_or_under_test(text: str) -> None:
    assert not list(too_short(ast.parse(text)))
