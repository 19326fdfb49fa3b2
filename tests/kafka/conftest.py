"""The length of the cut, from the command line."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Ten minutes are measured; a change of the test itself is tried with less."""
    parser.addoption("--cut", type=float, default=600.0, help="seconds for which the broker is away")


@pytest.fixture
def cut_s(request: pytest.FixtureRequest) -> float:
    """Seconds for which the broker is away."""
    seconds: float = request.config.getoption("--cut")
    return seconds
