"""One rendering for all tests: it is read, never changed."""

from __future__ import annotations

import pytest

from tests.k8s.rendering import EXAMPLE, EXAMPLE_JOB, Rendered, render


@pytest.fixture(scope="session")
def example() -> Rendered:
    """The example overlay and its job: everything there is, but the GPU components."""
    return Rendered([*render(EXAMPLE).objects, *render(EXAMPLE_JOB).objects])
