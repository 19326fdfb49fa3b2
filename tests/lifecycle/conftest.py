"""Processes that the tests of this room leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lifecycle.processes import close_all


@pytest.fixture(autouse=True)
def no_trainer_is_left() -> Iterator[None]:
    """End the trainers of a test, however it ended."""
    yield
    close_all()
